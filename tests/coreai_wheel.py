"""What the code uses of Core AI's runtime, and whether a wheel has it: for machines that cannot run it."""

import ast
import zipfile
from pathlib import Path

# module of the package: class and member, with the parameters that are given by name or in this order
USED = {
    "coreai.authoring": {
        "AIModelAsset.load": ("path",),
        "AIModelAsset.summary": ("include_statistics",),
        "AIModelAsset.program": (),
        "AIModelAsset.executable": ("specialization_options",),
        "AIProgram.save_asset": ("path", "metadata"),
    },
    "coreai.runtime": {
        "AIModel.load_function": ("function_name",),
        "AIModelAssetMetadata.__init__": (),
        "AIModelAssetMetadata.set_custom": ("key", "value"),
        "AIModelAssetSummary.function_inputs": ("function_name",),
        "AIModelAssetSummary.function_outputs": ("function_name",),
        "InferenceFunction.__call__": ("inputs",),
        "NDArray.__init__": ("data",),
        "NDArray.numpy": (),
        "SpecializationOptions.default": (),
        "SpecializationOptions.is_supported": (),
    },
}
COMPILED = ("AIModelAssetMetadata", "AIModelAssetSummary")  # the stub speaks for a library
_LIBRARY = "coreai/runtime/_coreai_runtime_os"  # of macOS 27 and later


def missing(wheel: Path) -> list[str]:
    """What of `USED` the wheel's sources and stubs do not have."""
    with zipfile.ZipFile(wheel) as files:
        return [
            f"{module}.{member}({', '.join(parameters)})"
            for module, members in USED.items()
            for member, parameters in members.items()
            if not _has(_members(files, module), member, parameters) or not _compiled_in(files, member)
        ]


def _has(members: dict[str, list[str]], member: str, parameters: tuple[str, ...]) -> bool:
    return member in members and members[member][: len(parameters)] == list(parameters)


def _members(files: zipfile.ZipFile, module: str) -> dict[str, list[str]]:
    """Parameters, less the first, of every method and property of the classes below `module`."""
    folder = module.replace(".", "/") + "/"
    found: dict[str, list[str]] = {}
    for name in files.namelist():
        if name.startswith(folder) and name.endswith((".py", ".pyi")):
            for node in ast.parse(files.read(name)).body:
                if isinstance(node, ast.ClassDef):
                    found |= {f"{node.name}.{f.name}": _parameters(f) for f in node.body if _is_method(f)}
    return found


def _is_method(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _parameters(method: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [a.arg for a in (*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _compiled_in(files: zipfile.ZipFile, member: str) -> bool:
    """Whether the library behind a stub names the member: one stub has a property that it lacks."""
    cls, _, name = member.partition(".")
    if cls not in COMPILED:
        return True
    (library,) = (f for f in files.namelist() if f.startswith(_LIBRARY))
    code = files.read(library)
    return cls.encode() in code and (name == "__init__" or name.encode() in code)
