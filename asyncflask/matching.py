"""The rules of a map as a tree that answers requests which are certain to match one of them."""

from __future__ import annotations

import re
import typing as t

from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter
from werkzeug.routing import Map
from werkzeug.routing import Rule
from werkzeug.routing import ValidationError
from werkzeug.routing import WebsocketMismatch
from werkzeug.routing.converters import NumberConverter
from werkzeug.routing.matcher import StateMachineMatcher

if t.TYPE_CHECKING:
    from werkzeug.routing.matcher import State
    from werkzeug.routing.rules import RulePart

Convert: t.TypeAlias = t.Callable[[str], t.Any]

_WEBSOCKET: t.Final = False
"""Rules for websockets are Werkzeug's to match."""
_QUICK_TESTS: t.Final[dict[str, t.Callable[[str], t.Any]]] = {
    r"(?P<__werkzeug_0>[^/]+)\Z": len,
    r"(?P<__werkzeug_0>[^/]{1,})\Z": len,
    r"(?P<__werkzeug_0>\d+)\Z": str.isdecimal,
}
"""What a segment alone, which has no slash in it, may be asked in place of an expression."""
_NUMBERS: t.Final = (int, float)
_REPLACEABLE: t.Final = frozenset({"bind", "bind_to_environ", "update", "match"})


class Leaf:
    """A rule, and how the values of its variable parts are made of their texts."""

    __slots__ = ("defaults", "quick", "rule", "variables")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.defaults = rule.defaults
        # As in Werkzeug, a name that is there twice counts once.
        self.variables = tuple(
            (index, str(name), _convert_by(converter))
            for index, (name, converter) in enumerate(rule._converters.items())
        )

        pure = all(convert is None or convert in _NUMBERS for _, _, convert in self.variables)
        self.quick = pure and not self.defaults
        """Whether the variables are all there is to it, and may be converted twice."""

    def is_quick(self, count: int) -> bool:
        """Whether it is, has so many variables, and is certain."""
        return self.quick and len(self.variables) == count and self is not DOUBT

    def only_value(self) -> tuple[Rule, str, Convert | None]:
        """Give the rule, its variable and what makes the value."""
        ((_, name, convert),) = self.variables
        return self.rule, name, convert


class Ending(t.NamedTuple):
    """What a path may end with after static segments, if it is one segment more."""

    static: t.Container[str]
    """Static segments, which come first."""
    test: t.Callable[[str], t.Any]
    """Tells whether another one is the value of a variable."""
    sure: dict[str, tuple[Rule, str, Convert | None]]
    """By method; see :meth:`Leaf.only_value`."""


class Node:
    """Where a path has come to; ``State`` in Werkzeug."""

    __slots__ = ("edge", "ends", "rest", "rules", "static")

    def __init__(self, rules: t.Sequence[Rule]) -> None:
        self.rules = rules
        self.static: dict[str, Node] = {}
        self.edge: Edge | None = None
        """The first of those that are tried in turn when no static segment leads on."""
        self.ends: dict[str, Leaf] = {}
        """By method, what a path that ends here is for."""
        self.rest: Leaf | None = None
        """The same for any other method."""


class Edge:
    """A segment with variable parts, or one that takes all the segments that are left."""

    __slots__ = ("content", "final", "next", "node", "read", "suffixed", "test")

    next: Edge | None

    def __init__(self, part: RulePart, node: Node) -> None:
        self.node = node
        self.next = None
        self.final = part.final
        self.suffixed = part.suffixed
        self.content = part.content
        self.read: t.Callable[[t.Any], tuple[str, ...]] | None = None
        """Gives the texts of a match; ``None`` where the whole segment is the text."""
        quick = None if part.final else _QUICK_TESTS.get(part.content)
        self.test: t.Callable[[str], t.Any] = quick or self._test_first

    def _test_first(self, target: str) -> re.Match[str] | None:
        """Compile the expression: thousands of them at once would keep the first request."""
        pattern = re.compile(self.content)
        groups = pattern.groupindex.items()
        numbers = [number for name, number in groups if name.startswith("__werkzeug_")]
        if len(numbers) == pattern.groups:
            self.read = re.Match.groups
        else:
            # Converters may have groups of their own, and a suffix is one.
            self.read = lambda hit: t.cast("tuple[str, ...]", hit.group(0, *numbers)[1:])
        # Last, for other threads: what passes the test is read.
        self.test = pattern.match
        return pattern.match(target)


class _SlashEdge(Edge):
    """The slash too many at the end of a path, for rules that are not strict about it."""

    __slots__ = ()

    def __init__(self, node: Node) -> None:
        self.node = node
        self.next = None
        self.final = self.suffixed = False
        self.test = "".__eq__
        self.read = lambda hit: ()


DOUBT: t.Final = Leaf(Rule("/"))
"""A rule that redirects, or may; Werkzeug is to say where to."""


class Tree:
    """Gives the rule and values that Werkzeug's map would give, or leaves it to that.

    The same way is taken through the same states (``werkzeug/routing/matcher.py``), so what comes
    first here comes first there.

    :param url_map: read at the first match; another tree is needed when it has changed.
    """

    def __init__(self, url_map: Map) -> None:
        self._map = url_map
        self._root: Node | None = None
        self._endings: dict[str, Ending] = {}
        self.static: dict[str, dict[str, Rule]] = {}
        """Rules without values by path and method; empty before the first match."""

    def match(self, path: str, method: str) -> tuple[Rule, dict[str, t.Any]] | None:
        """Match what is no websocket, on the subdomain of the rules that name none.

        :param path: begins with a slash.
        :returns: the rule and its values; ``None`` if Werkzeug is to answer.
        :raises HTTPException: if a converter refuses its text; asking it twice might cost.
        """
        head, _, last = path.rpartition("/")
        ending = self._endings.get(head)
        if ending is not None:
            static, test, sure = ending
            if last not in static and test(last) and method in sure:
                rule, name, convert = sure[method]
                try:
                    return rule, {name: last if convert is None else convert(last)}
                except ValueError:
                    # More digits than int() takes.
                    pass
        return self._search(path, method)

    def _search(self, path: str, method: str) -> tuple[Rule, dict[str, t.Any]] | None:
        passed: list[Node] = []
        found = _find(self._root or self._compile(), path.split("/"), method, passed)
        if found is None:
            return None
        leaf, texts = found
        if leaf is DOUBT:
            return None
        values: dict[str, t.Any] = {}
        try:
            for index, name, convert in leaf.variables:
                text = texts[index]
                values[name] = text if convert is None else convert(text)
        except ValueError as error:
            if convert in _NUMBERS or isinstance(error, ValidationError):
                raise _refusal(passed, method, leaf.rule) from None
            raise
        if leaf.defaults:
            values.update(leaf.defaults)
        return leaf.rule, values

    def _compile(self) -> Node:
        try:
            self._root = self._read_map()
        except AttributeError:
            # Another Werkzeug, or rules that are not its own.
            self._root = Node(())
        return self._root

    def _read_map(self) -> Node:
        url_map, matcher = self._map, self._map._matcher
        if type(matcher) is not StateMachineMatcher or url_map.host_matching:
            return Node(())
        if not _REPLACEABLE.isdisjoint([*vars(url_map), *vars(matcher)]):
            return Node(())
        # Sorts the states, if they are not yet.
        url_map.update()
        domain = matcher._root.static.get(url_map.default_subdomain or "")
        state = None if domain is None else domain.static.get("")
        if state is None:
            return Node(())
        reader = _Reader(url_map)
        root = reader.read(state, "")
        self.static, self._endings = reader.static, reader.endings
        return root


class _Reader:
    """Makes nodes of the states of Werkzeug's matcher."""

    def __init__(self, url_map: Map) -> None:
        self.static: dict[str, dict[str, Rule]] = {}
        self.endings: dict[str, Ending] = {}
        self._redirected = _find_redirected(url_map)
        self._leaves: dict[int, Leaf] = {}

    def read(self, state: State, path: str | None) -> Node:
        """Make the node of a state, and all that are reached from it.

        :param path: what leads to it, unless there are variable parts in it.
        """
        node = Node(state.rules)
        self._set_ends(node, state)
        # Copies: another thread may be adding a rule, which has this tree replaced.
        for segment, following in list(state.static.items()):
            below = None if path is None else f"{path}/{segment}"
            node.static[segment] = self.read(following, below)
        edges = [Edge(part, self.read(following, None)) for part, following in list(state.dynamic)]
        lenient = [rule for rule in state.rules if not rule.strict_slashes]
        if lenient:
            end = Node(lenient)
            self._take(end, lenient)
            edges.append(_SlashEdge(end))
        for edge, following_edge in zip(edges, edges[1:], strict=False):
            edge.next = following_edge
        node.edge = edges[0] if edges else None
        if path is not None:
            self._note_sure(node, path)
        return node

    def _note_sure(self, node: Node, path: str) -> None:
        """Note what needs no search, as it comes first: static segments, then the first edge."""
        sure = {method: leaf.rule for method, leaf in node.ends.items() if leaf.is_quick(0)}
        if sure:
            self.static[path] = sure
        edge = node.edge
        if edge is not None and edge.test in _QUICK_TESTS.values():
            ends = edge.node.ends.items()
            values = {method: leaf.only_value() for method, leaf in ends if leaf.is_quick(1)}
            self.endings[path] = Ending(node.static, edge.test, values)

    def _set_ends(self, node: Node, state: State) -> None:
        """Note what a path is for that ends at *state*, or lacks only the slash at its end."""
        self._take(node, state.rules)
        slashed = state.static.get("")
        if slashed is not None:
            self._take(node, slashed.rules, slash_missing=True)

    def _take(self, node: Node, rules: list[Rule], slash_missing: bool = False) -> None:
        for rule in rules:
            if node.rest is not None:
                # Whatever comes after a rule for all methods is not reached.
                return
            if rule.websocket != _WEBSOCKET:
                continue
            leaf = DOUBT if slash_missing and rule.strict_slashes else self._leaf_of(rule)
            if rule.methods is None:
                node.rest = leaf
            else:
                for method in rule.methods:
                    node.ends.setdefault(method, leaf)

    def _leaf_of(self, rule: Rule) -> Leaf:
        leaf = self._leaves.get(id(rule))
        if leaf is None:
            leaf = DOUBT if id(rule) in self._redirected else Leaf(rule)
            self._leaves[id(rule)] = leaf
        return leaf


def _find(
    node: Node, parts: list[str], method: str, passed: list[Node]
) -> tuple[Leaf, tuple[str, ...]] | None:
    """Give the first leaf that the parts lead to, and the texts of what is variable.

    :param passed: gets every node at which the parts were used up, the last one included.
    """
    index, count = 1, len(parts)
    texts: tuple[str, ...] = ()
    waiting: list[tuple[Edge, int, tuple[str, ...]]] = []
    while True:
        edge = None
        if index == count:
            passed.append(node)
            leaf = node.ends.get(method, node.rest)
            if leaf is not None:
                return leaf, texts
        else:
            edge = node.edge
            following = node.static.get(parts[index])
            if following is not None:
                if edge is not None:
                    waiting.append((edge, index, texts))
                node = following
                index += 1
                continue
        while True:
            if edge is None:
                if not waiting:
                    return None
                edge, index, texts = waiting.pop()
            target = "/".join(parts[index:]) if edge.final else parts[index]
            hit = edge.test(target)
            if hit:
                break
            edge = edge.next
        if edge.next is not None:
            waiting.append((edge.next, index, texts))
        texts += (target,) if edge.read is None else edge.read(hit)
        index = count if edge.final else index + 1
        if edge.suffixed and hit.groups()[-1]:
            # The slash, for which a segment follows in the tree.
            index -= 1
        node = edge.node


def _refusal(passed: list[Node], method: str, matched: Rule) -> HTTPException:
    """Give what Werkzeug raises when a converter of the rule that matched refuses its text."""
    allowed: set[str] = set()
    mismatch = False
    for rule in (rule for node in passed for rule in node.rules):
        if rule is matched:
            break
        if rule.methods is not None and method not in rule.methods:
            allowed.update(rule.methods)
        elif rule.websocket != _WEBSOCKET:
            mismatch = True
    if allowed:
        return MethodNotAllowed(valid_methods=list(allowed))
    return WebsocketMismatch() if mismatch else NotFound()


def _convert_by(converter: BaseConverter) -> Convert | None:
    """Give what makes a value of a text; ``None`` if the text is the value."""
    own = getattr(converter.to_python, "__func__", None)
    if own is BaseConverter.to_python:
        return None
    if isinstance(converter, NumberConverter) and own is NumberConverter.to_python:
        bounds = (converter.fixed_digits or None, converter.min, converter.max)
        if bounds == (None, None, None) and converter.num_convert in _NUMBERS:
            return converter.num_convert
    # Looked up each time, as it may be replaced.
    return lambda text: converter.to_python(text)


def _find_redirected(url_map: Map) -> set[int]:
    """Give the identities of the rules that may redirect instead of matching."""
    redirected: set[int] = set()
    for rules in list(url_map._rules_by_endpoint.values()):
        preferred: list[Rule] = []
        for rule in rules:
            # A rule of another class may say in its own way what it provides.
            redirects = type(rule) is not Rule or rule.redirect_to is not None
            if url_map.redirect_defaults and not redirects:
                redirects = rule.alias or any(
                    type(other) is not Rule or other.provides_defaults_for(rule)
                    for other in preferred
                )
            if redirects:
                redirected.add(id(rule))
            if type(rule) is not Rule or rule.defaults:
                preferred.append(rule)
    return redirected
