"""Generated requests, answered by Flask and by asyncflask alike."""
