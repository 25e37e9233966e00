"""The networks for torch.hub:

torch.hub.load(".", "protonet", source="local", pretrained=True)

With pretrained=True `name` is one of pretrained/ and the network comes in eval mode, with the sizes it was
trained with; otherwise further arguments go to its class.

The packages here have names that others use too (`common`), and there may be several checkouts. So each
checkout's packages are imported under a private name of its own, four_papers_<digest>.common in place of
common. Nothing stays on sys.path, or in sys.modules under a name that is not private, and an import inside a
function finds the same checkout later. The modules do stay in sys.modules under their private names, so that
copy.deepcopy, torch.compile and torch.save of a whole network work as with any other. A process that reads
such a file with torch.load loads the same checkout by torch.hub first; a state_dict needs nothing.
"""

import ast
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
import types

import torch

dependencies = ["torch", "numpy", "PIL", "filelock", "safetensors", "tqdm", "tyro"]

_ROOT = pathlib.Path(__file__).resolve().parent
_PACKAGES = ("common", "q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts")


class _Renamed(ast.NodeTransformer):
    """Changes absolute imports of this checkout's packages to imports from its private package."""

    def __init__(self, private: str):
        self.private = private

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level == 0 and node.module and _is_own(node.module):
            node.module = f"{self.private}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for alias in node.names:
            if not _is_own(alias.name):
                statements.append(ast.Import([alias]))
                continue
            # `import a.b` makes a name `a` and loads a.b; `import a.b as c` makes a name `c`.
            statements.append(ast.Import([ast.alias(f"{self.private}.{alias.name}", alias.asname)]))
            if not alias.asname:
                package = alias.name.partition(".")[0]
                statements.append(ast.ImportFrom(self.private, [ast.alias(package)], 0))
        return [ast.copy_location(statement, node) for statement in statements]


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a file of this checkout as a part of its private package."""

    def get_code(self, fullname: str) -> types.CodeType:
        """Compiles the file anew: the bytecode in __pycache__ belongs to its ordinary name."""
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data: bytes, path: str) -> types.CodeType:
        """Compiles a file with its imports renamed."""
        private = self.name.partition(".")[0]
        tree = _Renamed(private).visit(ast.parse(data, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of one private package, and no others."""

    def __init__(self, private: str):
        self.private = private

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        private, _, name = fullname.partition(".")
        if private != self.private or not _is_own(name):
            return None
        place = _ROOT.joinpath(*name.split("."))
        is_package = place.is_dir()
        file = place / "__init__.py" if is_package else place.with_name(f"{place.name}.py")
        if not file.is_file():
            return None
        loader = _Loader(fullname, str(file))
        folders = [str(place)] if is_package else None
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=folders
        )


def _is_own(module: str) -> bool:
    """Returns whether a module belongs to one of this checkout's packages."""
    return module.partition(".")[0] in _PACKAGES


def _private() -> str:
    """Returns the name of this checkout's private package, and makes it if it is not there.

    The name stands for the folder and for what is in its files: what is updated there is loaded anew.
    """
    digest = hashlib.sha256(str(_ROOT).encode())
    for package in _PACKAGES:
        for file in sorted((_ROOT / package).glob("*.py")):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    private = f"four_papers_{digest.hexdigest()[:16]}"
    if private not in sys.modules:
        package = types.ModuleType(private, f"The packages of {_ROOT}, for torch.hub.")
        package.__path__ = []
        sys.modules[private] = package
        sys.meta_path.insert(0, _Finder(private))  # before the one that finds the files in a package's folder
    return private


def _part(question: str, file: str, name: str) -> object:
    """Imports something of a file of this checkout."""
    question = f"{_private()}.{question}"
    return getattr(importlib.import_module(f"{question}.{file}"), name)


def _trained(question: str, file: str, kind: str, network: str, name: str, options: dict) -> torch.nn.Module:
    """Loads a network of pretrained/: the one that a trained network ready for use holds.

    Raises:
        TypeError: there are further arguments.
    """
    if options:
        raise TypeError(f"{name} has the sizes it was trained with: it takes no {', '.join(options)}")
    runtime = _part("common", "device", "Runtime")(torch.device("cpu"))
    ready = _part(question, file, kind).load(name, runtime)
    return getattr(ready, network)


def dcgan(pretrained: bool = False, name: str = "dcgan-conditional", **options: object) -> torch.nn.Module:
    """Draws digits: noise (n, latent_size) and labels (n,) -> (n, 1, 28, 28) in [-1, 1]."""
    if pretrained:
        return _trained("q1_dcgan", "painter", "Painter", "generator", name, options)
    return _part("q1_dcgan", "dcgan", "Generator")(**options)


def protonet(pretrained: bool = False, name: str = "protonet-1shot", **options: object) -> torch.nn.Module:
    """Embeds drawings (n, 1, 28, 28), ink 1 on 0 -> (n, 64), pretrained (n, 256); for squared distances."""
    if pretrained:
        return _trained("q2_protonet", "few_shot", "FewShot", "network", name, options)
    return _part("q2_protonet", "protonet", "ProtoNet")(**options)


def pix2pix(pretrained: bool = False, name: str = "pix2pix-aerial", **options: object) -> torch.nn.Module:
    """Turns photos (n, 3, size, size) in [-1, 1] into maps of the same shape and range."""
    if pretrained:
        return _trained("q3_pix2pix", "mapper", "Mapper", "generator", name, options)
    return _part("q3_pix2pix", "pix2pix", "UNet")(**options)


def darts(pretrained: bool = False, name: str = "darts-cifar10", **options: object) -> torch.nn.Module:
    """Classifies pictures (n, 3, 32, 32) -> logits (n, classes), None.

    They are normalised as q4_darts/cifar10_dataset.py does it.
    Without `pretrained`, genotype="DARTS_V2" by default: what `train.py --genotype` takes, or a Genotype. In
    training with auxiliary=True the auxiliary head's logits stand in place of None.
    """
    if pretrained:
        return _trained("q4_darts", "namer", "Namer", "network", name, options)
    genotype = options.pop("genotype", "DARTS_V2")
    if isinstance(genotype, str):
        genotype = _part("q4_darts", "genotype_text", "read")(genotype)
    return _part("q4_darts", "model", "Network")(genotype, **options)
