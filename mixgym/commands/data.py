"""`mixgym data`: build, list and show corpora."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mixgym.commands.base import register as register_base
from mixgym.corpus import CORPORA, Corpus, load_corpus
from mixgym.corpus.cache import cache_root
from mixgym.corpus.load import ensure_built
from mixgym.corpus.progress import reporter
from mixgym.corpus.split import SPLITS
from mixgym.errors import MixgymError

data_app = typer.Typer(
    no_args_is_help=True,
    help="Build and inspect corpora: the text that the language models are trained on.",
)

register_base(data_app)

NameArgument = Annotated[
    str, typer.Argument(help="nano8, core19, pile22, or a folder of your own text.")
]
TokenizerOption = Annotated[
    str, typer.Option(help="bytes, bpe-4096 (trained on the corpus; any size) or hf:NAME_OR_PATH.")
]
SkipOption = Annotated[
    list[str] | None,
    typer.Option(help="Leave this domain out; may be repeated. The corpus gets another hash."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder for corpora [default: $MIXGYM_CACHE or the platform's cache]."),
]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """One clear message and exit code 1 instead of a traceback."""
    try:
        yield
    except MixgymError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error


def _named(name: str, skip: list[str] | None) -> str:
    return "~".join([name, *sorted(skip or [])])


@data_app.command()
def build(
    name: NameArgument,
    tokenizer: TokenizerOption = "bytes",
    skip: SkipOption = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Throw away what is there.")] = False,
    cache: CacheOption = None,
) -> None:
    """Download (if needed) and build a corpus. Interrupted, it continues where it stopped."""
    with _plain_errors():
        full = _named(name, skip)
        if rebuild:
            with reporter(True) as report:
                ensure_built(full, cache_root(cache), report, rebuild=True)
        corpus = load_corpus(full, tokenizer=tokenizer, cache=cache, progress=True)
        size = sum(domain.bytes("train") for domain in corpus.domains)
        console = Console(soft_wrap=True)
        console.print(f"{corpus.name}: {corpus.K} domains, {_size(size)} of train text")
        console.print(f"hash {corpus.hash}\n{corpus.folder}", markup=False, highlight=False)


@data_app.command("list")
def list_corpora(cache: CacheOption = None) -> None:
    """List the corpora that can be built, and the folders that are."""
    table = Table(title="corpora")
    for column in ("name", "what is in it", "train cap a domain", "domains"):
        table.add_column(column)
    for name, recipe in CORPORA.items():
        table.add_row(name, recipe.description, _size(recipe.cap), " ".join(recipe.domains))
    console = Console()
    console.print(table)
    folders = sorted((cache_root(cache) / "corpora").glob("*/manifest.json"))
    console.print(f"built in {cache_root(cache)}:", markup=False, highlight=False)
    for path in folders:
        console.print(f"  {path.parent.name}", markup=False, highlight=False)
    if not folders:
        console.print("  nothing yet: try `mixgym data build nano8`")


@data_app.command()
def show(
    name: NameArgument,
    tokenizer: TokenizerOption = "bytes",
    skip: SkipOption = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file again.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Print some text of each domain.")] = (
        False
    ),
    cache: CacheOption = None,
) -> None:
    """Show the domains of a corpus: sizes, documents, licences, compressibility, sample text."""
    with _plain_errors():
        corpus = load_corpus(_named(name, skip), tokenizer=tokenizer, cache=cache, progress=True)
        if verify:
            corpus.verify()
        console = Console()
        console.print(_table(corpus))
        console.print(f"hash {corpus.hash}", markup=False, highlight=False, soft_wrap=True)
        if verify:
            console.print("every file has the hash in the manifest")
        if sample:
            for domain in corpus.domains:
                console.rule(f"{domain.name}: {domain.source}")
                text = corpus.tokenizer.decode(domain.tokens("validation")[:400])
                console.print(text.replace("\0", "\n---\n"), markup=False, highlight=False)


def _table(corpus: Corpus) -> Table:
    table = Table(title=f"{corpus.name} ({corpus.tokenizer.id})")
    table.add_column("domain")
    table.add_column("family")
    for column in ("available", "natural", *SPLITS, "documents", "gzip", "bytes/token"):
        table.add_column(column, justify="right")
    table.add_column("licence")
    for domain, share in zip(corpus.domains, corpus.natural, strict=True):
        table.add_row(
            domain.name,
            domain.family,
            _size(domain.available_bytes),
            f"{share:.1%}",
            *(_size(domain.bytes(split)) for split in SPLITS),
            "/".join(str(domain.documents(split)) for split in SPLITS),
            f"{domain.gzip_ratio:.1f}",
            f"{domain.bytes_per_token('train'):.2f}",
            domain.license,
        )
    return table


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
