"""The words that a word of the command line has of its own: ``mlog bench ls``."""

import argparse
from collections.abc import Mapping


def add_words(
    parser: argparse.ArgumentParser, destination: str, summaries: Mapping[str, str]
) -> dict[str, argparse.ArgumentParser]:
    """Adds words, one of which has to be given.

    Args:
        parser: Of the word above.
        destination: The attribute of the arguments that says which was given.
        summaries: What each word does, in small letters.

    Returns:
        The parser of each word.
    """
    words = parser.add_subparsers(dest=destination, metavar="WORD", required=True, title="words")
    return {
        word: words.add_parser(
            word,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for word, summary in summaries.items()
    }
