"""What source code uses of a package, read off its syntax tree: attribute chains, arguments and results."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Chain = tuple[str, ...]  # coremltools.models.MLModel is ("models", "MLModel"); "*" is a name made at run time
RESULT = "()"  # of a call that `returns` does not know


@dataclass(frozen=True)
class Use:
    """One attribute chain, and the arguments where it is called."""

    where: str
    chain: Chain
    called: bool = False
    positional: int = 0
    keywords: tuple[str, ...] = ()  # "*" and "**" are arguments that are not spelled out

    def __str__(self) -> str:
        return f"{self.where} {'.'.join(self.chain)}({', '.join(self.positional * ('_',) + self.keywords)})"


def uses_below(folder: Path, *, package: str, returns: Mapping[Chain, Chain]) -> list[Use]:
    """`uses` in every source file below `folder`."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    return [
        use
        for path, source in sources.items()
        for use in uses(source, path.relative_to(folder).as_posix(), package=package, returns=returns)
    ]


def uses(source: str, where: str, *, package: str, returns: Mapping[Chain, Chain]) -> list[Use]:
    """Every use of `package` in `source`.

    It is known there by its name, as an import or a parameter, and by calls of `import_PACKAGE`.

    Args:
        returns: the class of what a call gives, so that uses of a result are found as well.
    """
    finder = _Finder(where, package, returns)
    finder.visit(ast.parse(source))
    return finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self, where: str, package: str, returns: Mapping[Chain, Chain]) -> None:
        self._where, self._package, self._returns = where, package, returns
        self._known: dict[str, Chain] = {package: ()}
        self.found: list[Use] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside = dict(self._known)
        self.generic_visit(node)
        self._known = outside

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parts = (node.module or "").split(".")
        if node.level == 0 and parts[0] == self._package:
            for alias in node.names:
                chain = (*parts[1:], alias.name)
                self._known[alias.asname or alias.name] = chain
                self._add(node, chain)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == self._package and alias.asname:
                self._known[alias.asname] = tuple(alias.name.split(".")[1:])

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._bind(target, self._chain(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        self._bind(node.target, node.value and self._chain(node.value))

    def visit_Call(self, node: ast.Call) -> None:
        if chain := self._chain(node.func):
            plain = [one for one in node.args if not isinstance(one, ast.Starred)]
            starred = ("*",) * (len(node.args) > len(plain))
            keywords = (*starred, *(keyword.arg or "**" for keyword in node.keywords))
            self._add(node, chain, called=True, positional=len(plain), keywords=keywords)
        elif chain := self._chain(node):  # getattr
            self._add(node, chain)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if chain := self._chain(node):
            self._add(node, chain)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if chain := self._chain(node):
            self._add(node, chain)
        self.generic_visit(node)

    def _add(self, node: ast.AST, chain: Chain, **called: object) -> None:
        self.found.append(Use(f"{self._where}:{node.lineno}", chain, **called))

    def _bind(self, target: ast.expr, chain: Chain | None) -> None:
        if isinstance(target, ast.Name):
            self._known.pop(target.id, None)
            if chain is not None:
                self._known[target.id] = chain

    def _chain(self, node: ast.expr) -> Chain | None:
        match node:
            case ast.Name(id):
                return self._known.get(id)
            case ast.Attribute(value, attr):
                return self._longer(value, attr)
            case ast.Await(value):
                return self._chain(value)
            case ast.Subscript(value):
                return self._longer(value, "*")
            case ast.Call(func=ast.Name("getattr"), args=[value, ast.Constant(str(name)), *_]):
                return self._longer(value, name)
            case ast.Call(func=ast.Name("getattr"), args=[value, *_]):
                return self._longer(value, "*")
            case ast.Call(func=ast.Name(name)) if (
                name.endswith(f"import_{self._package}") or name == "_" + self._package
            ):
                return ()
            case ast.Call(func=func):
                called = self._chain(func)
                return called and self._returns.get(called, (*called, RESULT))
        return None

    def _longer(self, value: ast.expr, name: str) -> Chain | None:
        chain = self._chain(value)
        return None if chain is None else (*chain, name)
