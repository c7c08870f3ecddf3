"""What a finished job says on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HELD_OUT = (
    *("accuracy", "straightness", "psnr", "ssim", "perceptual", "kl", "posterior_std", "latent_std"),
    *("image_to_text_R@1", "text_to_image_R@1", "image_to_text_R@5", "text_to_image_R@5", "zero_shot"),
)
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
        *([("space", card["space"], "")] if card.get("space") else []),
        ("NFE", f"{cost['nfe']:g}", ""),
        ("sampling seconds", f"{cost['seconds']:.1f}", ""),
        ("of the measuring in the network", f"{cost['network_share']:.0%}", ""),
        ("peak memory", f"{cost['peak_memory'] / 2**30:.1f} GiB", ""),
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


def show(rows: list[tuple[str, str, str]]) -> None:
    """A table of names, values and floors."""
    table = Table("", "value", "real against real")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def show_evaluation(found: Mapping[str, Any]) -> None:
    """The metrics of an evaluation."""
    show(metric_rows(found))


def show_accuracy(found: Mapping[str, Any]) -> None:
    """The accuracy of a classifier by noise level, where that was found."""
    bins = {key.partition("@")[2]: value for key, value in found.items() if key.startswith("accuracy@")}
    if bins:
        table = Table("log-SNR", *bins, "all")
        table.add_row("accuracy", *(f"{share:.2f}" for share in (*bins.values(), found["accuracy"])))
        Console(width=120).print(table)


def show_result(result: Mapping[str, Any]) -> None:
    """The result of a training run, where it lies, and what to try next."""
    training = result["training"]
    show(
        [
            ("held-out loss", f"{result['loss']:.4f}", ""),
            *((name, f"{result[name]:.4f}", "") for name in HELD_OUT if name in result),
            *reconstruction_rows(result.get("reconstructions", {})),
            *metric_rows(result),
            ("images seen", f"{training['images_seen']}", ""),
            *([("network evaluations", f"{training['evaluations']}", "")] if "evaluations" in training else []),
            ("training seconds", f"{training['seconds']:.0f}", ""),
        ]
    )
    show_accuracy(result)
    print(f"run:     {result['folder']}")
    for kind in ("samples", "reconstructions", "similarity"):
        if (picture := Path(result["folder"], kind, "final.png")).exists():
            print(f"{kind}: {picture}")
    print(f"next:    {result['next']}")
