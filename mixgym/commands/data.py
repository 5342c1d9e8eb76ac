"""`mixgym data`: build, list and show corpora; nothing heavy is imported before they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mixgym.commands.base import HELP, say, stdout
from mixgym.commands.data_base import base

if TYPE_CHECKING:
    from mixgym.corpus import Corpus

data = typer.Typer(
    no_args_is_help=True,
    help="Build and inspect corpora: the text that the language models are trained on.",
    context_settings=HELP,
)
data.command()(base)

Name = Annotated[str, typer.Argument(help="nano8, core19, pile22, or a folder of your own text.")]
Tokenizer = Annotated[
    str, typer.Option(help="bytes, bpe-4096 (trained on the corpus; any size) or hf:NAME_OR_PATH.")
]
Skip = Annotated[
    list[str] | None,
    typer.Option(help="Leave this domain out; may be repeated. The corpus gets another hash."),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for corpora \\[default: $MIXGYM_CACHE or the platform's cache]."),
]


def _named(name: str, skip: list[str] | None) -> str:
    return "~".join([name, *sorted(skip or [])])


@data.command()
def build(
    name: Name,
    tokenizer: Tokenizer = "bytes",
    skip: Skip = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Throw away what is there.")] = False,
    cache: Cache = None,
) -> None:
    """Download (if needed) and build a corpus. Interrupted, it continues where it stopped.

    \b
    mixgym data build nano8
    mixgym data build core19 --tokenizer bpe-4096 --skip hashes
    mixgym data build ./texts
    """
    from mixgym.corpus import load_corpus
    from mixgym.corpus.cache import cache_root
    from mixgym.corpus.load import ensure_built
    from mixgym.corpus.progress import reporter

    full, root = _named(name, skip), cache_root(cache)
    before = set((root / "corpora").glob("*/manifest.json"))
    if rebuild:
        with reporter(True) as report:
            ensure_built(full, root, report, rebuild=True)
    corpus = load_corpus(full, tokenizer=tokenizer, cache=cache, progress=True)
    size = sum(domain.bytes("train") for domain in corpus.domains)
    say(f"{corpus.name}: {corpus.K} domains, {_size(size)} of train text")
    if corpus.folder / "manifest.json" in before and not rebuild:
        _say_notes(corpus)  # a build says them while it builds
    say(f"hash {corpus.hash}\n{corpus.folder}")


@data.command("list")
def list_corpora(cache: Cache = None) -> None:
    """List the corpora that can be built, and the folders that are."""
    from mixgym.corpus import CORPORA
    from mixgym.corpus.cache import cache_root

    table = Table(title="corpora")
    for column in ("name", "what is in it", "train cap a domain", "domains"):
        table.add_column(column)
    for name, recipe in CORPORA.items():
        table.add_row(name, recipe.description, _size(recipe.cap), " ".join(recipe.domains))
    stdout().print(table)
    folders = sorted((cache_root(cache) / "corpora").glob("*/manifest.json"))
    say(f"built in {cache_root(cache)}:")
    for path in folders:
        say(f"  {path.parent.name}")
    if not folders:
        say("  nothing yet: try `mixgym data build nano8`")


@data.command()
def show(
    name: Name,
    tokenizer: Tokenizer = "bytes",
    skip: Skip = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="Every column; wants a terminal of 130 characters.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file again.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Print some text of each domain.")] = (
        False
    ),
    cache: Cache = None,
) -> None:
    """Show the domains of a corpus: shares, sizes, documents, licences, sample text.

    \b
    mixgym data show nano8
    mixgym data show ./texts --wide --sample
    """
    from mixgym.corpus import load_corpus

    corpus = load_corpus(_named(name, skip), tokenizer=tokenizer, cache=cache, progress=True)
    if verify:
        corpus.verify()
    stdout().print(_wide_table(corpus) if wide else _table(corpus))
    if not wide:
        for licence in dict.fromkeys(domain.license for domain in corpus.domains):
            names = [domain.name for domain in corpus.domains if domain.license == licence]
            say(f"licence {licence}: {', '.join(names)}")
    _say_notes(corpus)
    say(f"hash {corpus.hash}")
    if verify:
        say("every file has the hash in the manifest")
    if sample:
        for domain in corpus.domains:
            stdout().rule(f"{domain.name}: {domain.source}")
            text = corpus.tokenizer.decode(domain.tokens("validation")[:400])
            stdout().print(text.replace("\0", "\n---\n"), markup=False, highlight=False)


def _table(corpus: Corpus) -> Table:
    """Fits 80 characters, if names do."""
    table = Table(
        title=f"{corpus.name} ({corpus.tokenizer.id})", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("domain", overflow="fold")
    for column in ("natural", "train", "validation", "test", "documents"):
        table.add_column(column, justify="right", no_wrap=True)
    for domain, share in zip(corpus.domains, corpus.natural, strict=True):
        sizes = (_size(domain.bytes(split)) for split in ("train", "validation", "test"))
        table.add_row(domain.name, f"{share:.1%}", *sizes, f"{domain.documents('train'):,}")
    return table


def _wide_table(corpus: Corpus) -> Table:
    from mixgym.corpus.split import SPLITS

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


def _say_notes(corpus: Corpus) -> None:
    """Say what a folder holds besides its domains, and which of those are small."""
    from mixgym.corpus.files import FilesSource

    source = FilesSource.parse(corpus.name)
    passed_over = source.passed_over() if source else []
    for note in [*passed_over, *corpus.manifest.get("notes", [])]:
        say(f"note: {note}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
