// Shows a line at the top of the list for every post that is published while the page is open.
const box = document.querySelector("#live");
const feed = new EventSource(box.dataset.feed);

feed.addEventListener("post", (event) => {
  const post = JSON.parse(event.data);
  const link = document.createElement("a");
  link.href = post.url;
  link.textContent = `${post.author} has just published “${post.title}”`;
  box.prepend(link);
});
