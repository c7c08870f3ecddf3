"""What a finished job says on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from difflab.experiment.machine.terminal import duration
from difflab.metric.direction import better, title

HELD_OUT = (
    *("accuracy", "straightness", "psnr", "ssim", "perceptual", "kl", "posterior_std", "latent_std"),
    *("image_to_text_R@1", "text_to_image_R@1", "image_to_text_R@5", "text_to_image_R@5", "zero_shot"),
)
ALL, SHORT = ("", "value", "real against real"), ("", "value", "real images", "")  # headings of tables
FIRST = ("class_accuracy", "text_retrieval", "coverage", "copies")  # scores that are shown at once, after a distance
HEADLINE = 3  # of them
PIPE = 200  # columns of a table that goes into no terminal
LIKELIHOODS = {"bits_per_dim": "bits/dim", "bits_per_dim_bound": "bits/dim at most"}


def metric_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each score with its floor, the likelihood, and the cost."""
    if "metrics" not in found:
        return []
    metrics = found["metrics"]
    scores = [key.removesuffix("_floor") for key in metrics if key.endswith("_floor")]
    scores = [key for key in scores if key not in ("n", *LIKELIHOODS)]
    rows = [(key, f"{metrics[key]:.4g}", f"{metrics[f'{key}_floor']:.4g}") for key in scores]
    decoded = {key: value for key, value in metrics.items() if key.endswith("_reconstruction")}
    rows += [
        (f"{key.removesuffix('_reconstruction')} of reconstructions", f"{value:.4g}", "")
        for key, value in decoded.items()
    ]
    for kind, own in found.get("kinds", {}).items():
        names = [name for name in own if f"{name}_floor" in own and name != "n"][:1]
        rows += [(f"{name} of {kind}", f"{own[name]:.4g}", f"{own[f'{name}_floor']:.4g}") for name in names]
    card, cost = found["card"], found["cost"]
    for key, words in LIKELIHOODS.items():
        if key not in metrics:
            continue
        bits = f"{metrics[key]:.3f} ± {metrics[f'{key}_se']:.3f}"
        floor = f"{metrics[f'{key}_floor']:.3f}" if f"{key}_floor" in metrics else ""
        rows.append((words, f"{bits} of {card['n_likelihood']} held-out samples", floor))
    if card.get("likelihood"):
        rows.append(("bits/dim by", card["likelihood"], ""))
    path = "" if card["path"] == "as trained" else f" along {card['path']}"
    return [
        *rows,
        *((f"note on {key}", text, "") for key, text in found.get("notes", {}).items()),
        ("n", f"{metrics['n']} against {metrics['n_reference']} of {card['reference']}", floor_counts(metrics)),
        ("sampler", f"{card['sampler']} on {card['grid']}{path}", ""),
        ("guidance", f"{card['guidance'] or 'none'}, {card['weights']}", ""),
        *((word, card[word], "") for word in ("space", "selection") if card.get(word)),
        ("NFE", f"{cost['nfe']:g}", ""),
        ("sampling seconds", f"{cost['seconds']:.1f}", ""),
        ("of the measuring in the network", f"{cost['network_share']:.0%}", ""),
        *(("peak memory", f"{cost[key] / 2**30:.1f} GiB", "") for key in ["peak_memory"] if key in cost),
    ]


def reconstruction_rows(scores: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Each score of held-out samples that were encoded and decoded, with its floor."""
    floors = {name: f"{scores[f'{name}_floor']:.4g}" if f"{name}_floor" in scores else "" for name in scores}
    names = [name for name in scores if not name.endswith("_floor")]
    return [(f"{name} of reconstructions", f"{scores[name]:.4g}", floors[name]) for name in names]


def floor_counts(metrics: Mapping[str, Any]) -> str:
    """The number of samples that floors hold for, and from how many real ones they come."""
    n, found = metrics["n_floor"], metrics.get("n_floor_from", metrics["n_floor"])
    return f"n={n}" if n == found else f"n={n}, from {found}"


def headline(found: Mapping[str, Any]) -> list[str]:
    """The three scores to look at first: a distance, then what the samples miss, then whether they are copies."""
    metrics = found.get("metrics", {})
    scores = [key for key in metrics if f"{key}_floor" in metrics and key != "n"]
    wanted = [key for stem in FIRST for key in scores if key == stem or key.startswith(f"{stem}_")]
    return list(dict.fromkeys([*scores[:1], *wanted, *scores]))[:HEADLINE]


def headline_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Each of them with its floor, and in words what it is and which way is better."""
    metrics = found.get("metrics", {})
    return [
        (key, f"{metrics[key]:.4g}", f"{metrics[f'{key}_floor']:.4g}", f"{title(key)}: {better(key)}")
        for key in headline(found)
    ]


def show(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """A table as wide as the terminal."""
    table = Table(*(Column(head, overflow="fold") for head in heads), box=SIMPLE, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE
    console.print(table)


def show_evaluation(found: Mapping[str, Any], verbose: bool) -> None:
    """What an evaluation found: the first scores in words; or all of them, `verbose`, and how they were made."""
    if verbose or not headline(found):
        show(metric_rows(found), ALL)
    else:
        show(headline_rows(found), SHORT)


def show_accuracy(found: Mapping[str, Any]) -> None:
    """The accuracy of a classifier by noise level, where that was found."""
    bins = {key.partition("@")[2]: value for key, value in found.items() if key.startswith("accuracy@")}
    if bins:
        show(
            [("accuracy", *(f"{share:.2f}" for share in (*bins.values(), found["accuracy"])))],
            ("log-SNR", *bins, "all"),
        )


def show_result(result: Mapping[str, Any], verbose: bool) -> None:
    """The result of a training run, where it lies, and what to try next."""
    training = result["training"]
    held_out = [(name, f"{result[name]:.4f}", "") for name in HELD_OUT if name in result]
    decoded = reconstruction_rows(result.get("reconstructions", {}))
    if verbose:
        seen = [("images seen", f"{training['images_seen']:,}", "")]
        evaluations = [("network evaluations", f"{training[key]:,}", "") for key in ["evaluations"] if key in training]
        seconds = [("training seconds", f"{training['seconds']:,.0f}", "")]
        loss = [("held-out loss", f"{result['loss']:.4f}", "")]
        show([*loss, *held_out, *decoded, *metric_rows(result), *seen, *evaluations, *seconds], ALL)
    else:
        if headline(result):
            show(headline_rows(result), SHORT)
        elif held_out or decoded:
            show([*held_out, *decoded][:HEADLINE], ALL)
        others = [f"{name} {value}" for name, value, _ in held_out if headline(result)]
        cost = f"{training['images_seen']:,} images seen in {duration(training['seconds'])}"
        print("; ".join([f"held-out loss {result['loss']:.4f}", *others, cost]))
    show_accuracy(result)
    print(f"run:     {result['folder']}")
    for kind in ("samples", "reconstructions", "similarity"):
        if (picture := Path(result["folder"], kind, "final.png")).exists():
            print(f"{kind + ':':8} {picture}")
    if not verbose:
        print("all:     -v after the same command shows all numbers")
    print(f"next:    {result['next']}")
