"""Small faults that can be put into a source file: what cosmic-ray knows, and statements left out, which it doesn't."""

import ast
import functools
from collections.abc import Iterator
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

NOT_USED = ("NoOp", "Variable", "RemoveDecorator", "ExceptionReplacer")
"""Operators that change nothing, need arguments, make a file that can't be imported, as any test notices, or fail
where an exception is named with its module."""
LEFT_OUT = "LeaveOut"

Place = tuple[str, int, int]
"""What kind of fault, and line and column, from 1 and from 0."""
Span = tuple[tuple[int, int], tuple[int, int]]


class Fault(NamedTuple):
    """One of a place's faults: the operator, and which of its occurrences in the file."""

    operator: str
    occurrence: int


def faults(source: str) -> dict[Place, list[Fault]]:
    """By place; at one place a comparison, say, can be replaced in many ways."""
    tree = get_ast(source)
    skipped = _skipped(source)
    found: dict[Place, list[Fault]] = {}
    for name in _operators():
        operator = get_operator(name)()
        positions = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for occurrence, (line, column) in enumerate(positions):
            if not any(start <= (line, column) < end for start, end in skipped):
                kind = name.partition("/")[2].partition("_")[0]
                found.setdefault((kind, line, column), []).append(Fault(name, occurrence))
    for occurrence, statement in enumerate(_removable(source)):
        found[LEFT_OUT, statement.lineno, statement.col_offset] = [Fault(LEFT_OUT, occurrence)]
    return found


def is_program(source: str) -> bool:
    """Whether it is one at all: the star of a signature, say, is taken for a multiplication."""
    try:
        compile(source, "", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def apply(source: str, fault: Fault) -> str:
    """The source with that fault."""
    if fault.operator != LEFT_OUT:
        mutated: str = mutate_code(source, get_operator(fault.operator)(), fault.occurrence)
        return mutated
    statement = _removable(source)[fault.occurrence]
    lines = source.splitlines(keepends=True)
    assert statement.end_lineno is not None
    first = lines[statement.lineno - 1].encode()
    last = lines[statement.end_lineno - 1].encode()
    kept = (first[: statement.col_offset] + b"pass" + last[statement.end_col_offset :]).decode()
    return "".join([*lines[: statement.lineno - 1], kept, *lines[statement.end_lineno :]])


@functools.cache
def _operators() -> list[str]:
    return [name for name in operator_names() if not name.partition("/")[2].startswith(NOT_USED)]


def _removable(source: str) -> list[ast.stmt]:
    """Statements that do something and whose absence leaves a program: calls, assignments to what is there,
    ends of functions. A log line is none, as little as a docstring."""
    kinds = (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Return, ast.Delete, ast.Break)
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, kinds)
        and node.col_offset > 0
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not _logs(node)
        and not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name))
    ]


def _logs(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            return True
    return False


def _skipped(source: str) -> list[Span]:
    """Where a fault is none: signatures but for defaults, types, log lines, and that `zip` would notice what is never
    so."""
    tree = ast.parse(source)
    strict = (node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "strict")
    skipped = (*_annotations(tree), *strict, *filter(_logs, ast.walk(tree)))
    return [*_signatures(tree), *(_span(node) for node in skipped if isinstance(node, ast.expr | ast.stmt))]


def _span(node: ast.expr | ast.stmt) -> Span:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)


def _signatures(tree: ast.Module) -> Iterator[Span]:
    """A star in them is no multiplication."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            bounds = [bound for span in sorted(map(_span, defaults)) for bound in span]
            edges = iter([_span(node)[0], *bounds, _span(node.body[0])[0]])
            yield from zip(edges, edges, strict=True)


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns
    # A class or a name that stands for a type, such as `Outcome = Answer | Exception`.
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.BinOp):
            operator = statement.value.op
            if isinstance(operator, ast.BitOr):
                yield statement.value
