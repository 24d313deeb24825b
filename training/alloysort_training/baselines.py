"""The methods of the LIBS literature, fitted to the training spectra: rivals for the network's accuracy.

All take the same conditioned spectra. What matters of each method is tuned over whole batches of the training
pieces, by macro-F1. One temperature, fitted to the same held-out pieces, makes its scores probabilities.

    counts ─► condition ─► FrontEnd ─► spectra │ components │ ratios ─► method ─► scores ─► temperature
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.libs.atomic import BOLTZMANN_EV_K, HC_EV_NM, atomic_data
from alloysort_datasets.libs.wavelength import air_nm
from alloysort_models.bundle.grid import Grid

NAMES: Final = (
    "PLS-DA",
    "LDA",
    "SVM",
    "random forest",
    "kNN",
    "boosting, line ratios",
    "boosting, PCA",
    "template correlation",
    "1-D CNN",
)
FOLDS: Final = 3
TUNED_ON: Final = 2000  # pieces, at most, drawn at random: the choice of parameters needs no more
PORTION: Final = 1024  # spectra that are conditioned at once
BACKGROUND: Final = 61  # channels: wider than any line, narrower than the continuum's bends
SMOOTHED: Final = 5  # channels, so that the background follows the light and not the noise's lowest dips
COMPONENTS: Final = 240  # principal components that are kept; no method is offered more
PLASMA_K: Final = 10_000.0  # at which a line's strength is judged
LINES: Final = 3  # of an element's atoms, and as many of its ions
HALF_LINE: Final = 2  # channels to either side that belong to a line
FAINT: Final = 0.1  # of the mean channel's light: what is fainter than this is noise
LEAST_SHARE: Final = 1e-4  # of a forest's trees or of the neighbours: its logarithm stays finite
TEMPERATURES: Final = np.geomspace(1e-4, 1e2, 121)  # from differences of correlations to sums of trees

EPOCHS: Final = 40
PATIENCE: Final = 6  # epochs without a better score
RATE: Final = 1e-3  # Adam's own default
DROPPED: Final = 0.3  # of the dense layer
TREES: Final = 150  # of a forest; more of them no longer change its vote
_BATCH: Final = 64

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Params = Mapping[str, Any]
View = Literal["spectra", "components", "ratios"]


@dataclass(frozen=True, eq=False)
class Spectra:
    """N pieces' spectra on one wavelength grid.

    Attributes:
        counts: (N, C) float32 detector counts, mean of the shots that hit, 0 where the instrument sees
            nothing.
        seen: (N, C) bool, the instrument sees the channel.
    """

    counts: NDArray[np.float32]
    seen: Mask

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: Any) -> Spectra:
        return Spectra(self.counts[rows], self.seen[rows])


@dataclass(frozen=True, eq=False)
class Baseline:
    """A fitted method.

    Attributes:
        name: one of NAMES.
        tuned: what was chosen.
        tried: each candidate, as text, with its cross-validated macro-F1.
        seconds: that tuning and fitting took, without the conditioning that all methods share.
        predict: from N spectra to (N, F) probabilities per family of FAMILIES; those not trained on have 0.
    """

    name: str
    tuned: Params
    tried: Mapping[str, float]
    seconds: float
    predict: Callable[[Spectra], NDArray[np.float32]]


class Estimator(Protocol):
    """What scikit-learn calls a classifier; its scores are `decision_function` or else `predict_proba`."""

    classes_: Any

    def fit(self, rows: Any, labels: Any) -> Any:
        """Learn from (N, D) rows of (N,) families."""


@dataclass(frozen=True)
class Method:
    """How a baseline is made.

    Attributes:
        view: what it looks at.
        candidates: the parameters to choose from.
        build: an estimator from parameters and a seed.
    """

    view: View
    candidates: tuple[Params, ...]
    build: Callable[[Params, int], Estimator]


def fit_baselines(
    train: Spectra, family: Ints, batch: Ints, grid: Grid, seed: int = 0, names: Sequence[str] = NAMES
) -> Iterator[Baseline]:
    """Fit the named methods; each is yielded as soon as it is fitted.

    Tuned by cross-validation over whole batches (GroupKFold) within the training pieces only.

    Args:
        train: N spectra on the grid.
        family: (N,) place in FAMILIES, -1 where unknown: such pieces are left out.
        batch: (N,) pieces of one batch are alike.
        grid: the spectra's axis.
        seed: of all that is drawn.
        names: of NAMES.

    Raises:
        TrainingError: a name is unknown, the shapes do not fit, or there are too few families or batches.
    """
    _require_fitting(train, family, batch, grid, names)
    known = family >= 0
    train, family, batch = train[known], family[known], batch[known]
    light = condition(train)
    rows = _some(len(family), np.random.default_rng(seed))
    folds = _folds(light[rows], family[rows], batch[rows], grid, seed)
    whole = FrontEnd.fit(light, grid, seed)
    table = whole(light)
    return (_fit(name, folds, whole, table, family, seed) for name in names)


def _require_fitting(train: Spectra, family: Ints, batch: Ints, grid: Grid, names: Sequence[str]) -> None:
    for name in names:
        if name not in METHODS:
            raise TrainingError(f"no baseline is called {name!r}: there are {', '.join(NAMES)}")
    if train.counts.shape != (len(family), grid.channels) or train.seen.shape != train.counts.shape:
        raise TrainingError(
            f"spectra of shape {train.counts.shape} do not fit {len(family)} pieces x {grid.channels}"
        )
    known = family >= 0
    families, batches = len(np.unique(family[known])), len(np.unique(batch[known]))
    if families < 2:
        raise TrainingError(f"baselines need pieces of 2 families to tell apart, here are {families}")
    if batches < 2:
        raise TrainingError(f"baselines are tuned over whole batches and need 2 of them, here are {batches}")


# What all methods share


@dataclass(frozen=True, eq=False)
class Light:
    """Conditioned spectra.

    Attributes:
        light: (N, C) float32 above the background, in units of the seen channels' mean; 0 where unseen.
        seen: (N, C).
    """

    light: NDArray[np.float32]
    seen: Mask

    def __len__(self) -> int:
        return len(self.light)

    def __getitem__(self, rows: Any) -> Light:
        return Light(self.light[rows], self.seen[rows])


def condition(spectra: Spectra) -> Light:
    """Take off the running minimum and divide by the total intensity, of the seen channels alone."""
    light = np.zeros(spectra.counts.shape, dtype=np.float32)
    for start in range(0, len(spectra), PORTION):
        part = spectra[start : start + PORTION]
        light[start : start + PORTION] = _normalised(part)
    return Light(light, spectra.seen)


def _normalised(spectra: Spectra) -> Floats:
    seen = spectra.seen
    smooth = _seen_mean(spectra.counts, seen, SMOOTHED)
    lowest = minimum_filter1d(np.where(seen, smooth, np.inf), BACKGROUND, axis=1, mode="nearest")
    lowest[np.isinf(lowest)] = -np.inf
    lowest = maximum_filter1d(lowest, BACKGROUND, axis=1, mode="nearest")  # a slope is no light
    background = _seen_mean(lowest, np.isfinite(lowest), BACKGROUND)
    above = np.where(seen, np.maximum(spectra.counts - background, 0.0), 0.0)
    mean = above.sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    normalised: Floats = np.divide(above, mean, out=np.zeros_like(above), where=mean > 0)
    return normalised


def _seen_mean(values: Floats, seen: Mask, width: int) -> Floats:
    """(N, C) running mean of the seen channels alone; 0 where none is near."""
    total = uniform_filter1d(np.where(seen, values, 0.0).astype(np.float64), width, axis=1, mode="constant")
    share = uniform_filter1d(seen.astype(np.float64), width, axis=1, mode="constant")
    near = share > 0.5 / width
    return np.divide(total, share, out=np.zeros_like(total), where=near)


@dataclass(frozen=True, eq=False)
class Table:
    """N pieces as the methods look at them.

    Attributes:
        spectra: (N, C) square roots of the light, unseen channels filled with the training mean.
        components: (N, K) principal components of these, descending; together they have variance 1.
        ratios: (N, R) logarithms of line intensities and of ratios of elements, NaN where unseen.
    """

    spectra: NDArray[np.float32]
    components: NDArray[np.float32]
    ratios: NDArray[np.float32]

    def look(self, view: View, params: Params) -> NDArray[np.float32]:
        """What a method with these parameters looks at."""
        rows: NDArray[np.float32] = getattr(self, view)
        return rows[:, : params["components"]] if view == "components" else rows


@dataclass(frozen=True, eq=False)
class FrontEnd:
    """What is learnt of training spectra without their families: the mean and the principal components."""

    mean: NDArray[np.float32]
    pca: PCA
    scale: float
    lines: Sequence[Ints]

    @classmethod
    def fit(cls, light: Light, grid: Grid, seed: int) -> FrontEnd:
        """From conditioned training spectra."""
        times = light.seen.sum(axis=0)
        total = np.sqrt(light.light).sum(axis=0, dtype=np.float64)
        mean = (total / np.maximum(times, 1)).astype(np.float32)
        filled = _filled(light, mean)
        most = min(COMPONENTS, min(filled.shape) - 1)
        pca = PCA(most, svd_solver="randomized", iterated_power=3, random_state=seed).fit(filled)
        spread = float(pca.explained_variance_.sum())
        return cls(mean, pca, 1.0 / np.sqrt(spread) if spread > 0 else 1.0, telling_channels(grid))

    def __call__(self, light: Light) -> Table:
        """As the methods look at it."""
        filled = _filled(light, self.mean)
        components = (self.pca.transform(filled) * self.scale).astype(np.float32)
        return Table(filled, components, line_ratios(light, self.lines))


def _filled(light: Light, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(light.seen, np.sqrt(light.light), mean)


def telling_channels(grid: Grid) -> list[Ints]:
    """By element of ELEMENTS the channels of its strongest lines, of atoms and of ions.

    Strength is that of a thin plasma at PLASMA_K: gA exp(-E/kT), lines from NIST ASD.
    """
    return [_element_channels(element, grid) for element in ELEMENTS]


def _element_channels(element: str, grid: Grid) -> Ints:
    atoms = atomic_data()
    first = atoms.first_species[atoms.elements.index(element)]
    found: list[int] = []
    for species in (first, first + 1):
        lines = slice(atoms.line_start[species], atoms.line_start[species + 1])
        vacuum = atoms.line_vac_nm[lines]
        upper = atoms.line_lower_ev[lines] + HC_EV_NM / vacuum
        strength = atoms.line_ga[lines] * np.exp(-upper / (BOLTZMANN_EV_K * PLASMA_K))
        channel = np.searchsorted(grid.edges_nm, air_nm(vacuum)) - 1
        inside = (channel >= 0) & (channel < grid.channels)
        strongest = channel[inside][np.argsort(-strength[inside], kind="stable")]
        found += list(dict.fromkeys(strongest.tolist()))[:LINES]
    return np.unique(np.array(found, dtype=np.int64))


def line_ratios(light: Light, lines: Sequence[Ints]) -> NDArray[np.float32]:
    """(N, R): the logarithm of each line's light, then of the ratio of every two elements' lines."""
    total = np.zeros_like(light.light)
    for step in range(-HALF_LINE, HALF_LINE + 1):
        total += np.roll(light.light, step, axis=1)
    of_lines = np.where(light.seen, total, np.nan)
    each = np.log(of_lines[:, np.concatenate(list(lines))] + FAINT)
    elements = [_strength(of_lines[:, channels]) for channels in lines]
    pairs = [one - other for one, other in combinations(elements, 2)]
    return np.column_stack([each, *pairs]).astype(np.float32)


def _strength(of_lines: Floats) -> Floats:
    """(N,) logarithm of an element's mean line, NaN where none is seen."""
    there = np.isfinite(of_lines).sum(axis=1)
    total = np.nansum(of_lines, axis=1)
    mean = np.divide(total, there, out=np.full(len(total), np.nan), where=there > 0)
    strength: Floats = np.log(mean + FAINT)
    return strength


# Tuning


@dataclass(frozen=True, eq=False)
class _Fold:
    """Pieces to learn from and others, of other batches, to check."""

    learn: Table
    learn_family: Ints
    check: Table
    check_family: Ints


def _some(count: int, rng: np.random.Generator) -> Ints:
    """At most TUNED_ON of so many rows."""
    return np.sort(rng.permutation(count)[:TUNED_ON])


def _folds(light: Light, family: Ints, batch: Ints, grid: Grid, seed: int) -> list[_Fold]:
    found = []
    for learn, check in _split(family, batch):
        front = FrontEnd.fit(light[learn], grid, seed)
        found.append(_Fold(front(light[learn]), family[learn], front(light[check]), family[check]))
    return found


def _split(family: Ints, batch: Ints) -> list[tuple[Ints, Ints]]:
    """Rows to learn from and to check, by fold.

    Raises:
        TrainingError: a fold would learn a single family.
    """
    split = list(GroupKFold(min(FOLDS, len(np.unique(batch)))).split(family, family, batch))
    for learn, _ in split:
        if len(np.unique(family[learn])) < 2:
            raise TrainingError(
                "without a part of the batches a single family is left: baselines need more batches of each"
            )
    return split


@dataclass(frozen=True, eq=False)
class _Tuning:
    """What was chosen, and what it said of the held-out pieces."""

    chosen: Params
    tried: Mapping[str, float]
    scores: Floats
    truth: Ints


def _fit(
    name: str, folds: Sequence[_Fold], front: FrontEnd, table: Table, family: Ints, seed: int
) -> Baseline:
    began = time.perf_counter()
    method = METHODS[name]
    tuning = _tune_epochs(folds[0], seed) if name == "1-D CNN" else _tune(method, folds, seed)
    temperature = fit_temperature(tuning.scores, tuning.truth)
    estimator = method.build(tuning.chosen, seed).fit(table.look(method.view, tuning.chosen), family)
    return Baseline(
        name=name,
        tuned={**tuning.chosen, "temperature": temperature},
        tried=tuning.tried,
        seconds=time.perf_counter() - began,
        predict=_Predictor(front, method.view, tuning.chosen, estimator, temperature),
    )


def _tune(method: Method, folds: Sequence[_Fold], seed: int) -> _Tuning:
    """The candidate with the highest mean macro-F1 over the folds; of equals the first."""
    truths = [fold.check_family for fold in folds]
    told = [[_held_out(method, one, fold, seed) for fold in folds] for one in method.candidates]
    values = [float(np.mean([macro_f1(s, t) for s, t in zip(one, truths, strict=True)])) for one in told]
    best = int(np.argmax(values))
    tried = {_as_text(one): value for one, value in zip(method.candidates, values, strict=True)}
    return _Tuning(method.candidates[best], tried, np.concatenate(told[best]), np.concatenate(truths))


def _held_out(method: Method, params: Params, fold: _Fold, seed: int) -> Floats:
    estimator = method.build(params, seed)
    estimator.fit(fold.learn.look(method.view, params), fold.learn_family)
    return family_scores(estimator, fold.check.look(method.view, params))


def _tune_epochs(fold: _Fold, seed: int) -> _Tuning:
    """Early stopping: train until the held-out fold has not got better for PATIENCE epochs."""
    net = ConvNet(EPOCHS, seed)
    told: list[Floats] = []
    values: list[float] = []
    for epoch in net.epochs(fold.learn.spectra, fold.learn_family):
        told.append(family_scores(net, fold.check.spectra))
        values.append(macro_f1(told[-1], fold.check_family))
        if epoch - int(np.argmax(values)) >= PATIENCE:
            break
    best = int(np.argmax(values))
    tried = {_as_text({"epochs": epoch}): value for epoch, value in enumerate(values, 1)}
    return _Tuning({"epochs": best + 1}, tried, told[best], fold.check_family)


def _as_text(params: Params) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items())


def macro_f1(scores: Floats, family: Ints) -> float:
    """Of (N, F) scores' likeliest families: the mean over the families present."""
    present = np.unique(family)
    told = scores.argmax(axis=1)
    return float(f1_score(family, told, labels=present, average="macro", zero_division=0.0))


# From scores to probabilities


def family_scores(estimator: Estimator, rows: NDArray[np.float32]) -> Floats:
    """(N, F) by place in FAMILIES: what the estimator decides by, -inf for families it never met."""
    if hasattr(estimator, "decision_function"):
        told = np.asarray(estimator.decision_function(rows), dtype=np.float64)
    else:
        shares = estimator.predict_proba(rows)  # type: ignore[attr-defined]
        told = np.log(np.maximum(shares, LEAST_SHARE))
    if told.ndim == 1:  # of two families the second's
        told = np.column_stack([-told, told])
    scores = np.full((len(rows), len(FAMILIES)), -np.inf)
    scores[:, estimator.classes_] = told
    return scores


def fit_temperature(scores: Floats, family: Ints) -> float:
    """The temperature of TEMPERATURES with the least cross entropy (Guo et al. 2017)."""
    rows = np.arange(len(family))
    known = np.isfinite(scores[rows, family])
    rows, family, scores = rows[: known.sum()], family[known], scores[known]
    if not len(family):
        return 1.0
    losses = [-np.log(softmax(scores / t)[rows, family] + 1e-12).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def softmax(scores: Floats) -> Floats:
    """(N, F) scores to probabilities; -inf gives 0."""
    risen = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = risen / risen.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True, eq=False)
class _Predictor:
    """A fitted method from counts to probabilities, in portions."""

    front: FrontEnd
    view: View
    params: Params
    estimator: Estimator
    temperature: float

    def __call__(self, spectra: Spectra) -> NDArray[np.float32]:
        found = np.zeros((len(spectra), len(FAMILIES)), dtype=np.float32)
        for start in range(0, len(spectra), PORTION):
            table = self.front(condition(spectra[start : start + PORTION]))
            scores = family_scores(self.estimator, table.look(self.view, self.params))
            found[start : start + PORTION] = softmax(scores / self.temperature)
        return found


# Methods that scikit-learn lacks


class PartialLeastSquares:
    """PLS-DA: regression of the families' indicators on the spectra by SIMPLS.

    De Jong, Chemom. Intell. Lab. Syst. 18, 251 (1993); as a classifier, Barker and Rayens,
    J. Chemom. 17, 166 (2003).
    """

    def __init__(self, components: int) -> None:
        self.components = components

    def fit(self, rows: Floats, labels: Ints) -> PartialLeastSquares:
        """Learn from (N, C) spectra of (N,) families."""
        self.classes_, place = np.unique(labels, return_inverse=True)
        indicators = np.eye(len(self.classes_))[place]
        self._centre, self._share = rows.mean(axis=0), indicators.mean(axis=0)
        centred = (rows - self._centre).astype(np.float64)
        self._slope = simpls(centred, indicators - self._share, self.components)
        return self

    def decision_function(self, rows: Floats) -> Floats:
        """(N, classes) regressed indicators."""
        scores: Floats = (rows - self._centre) @ self._slope + self._share
        return scores


def simpls(x: Floats, y: Floats, components: int) -> Floats:
    """(D, M) slope of centred (N, M) y on centred (N, D) x, by so many components if there are as many."""
    covariance = x.T @ y
    least = 1e-6 * np.linalg.norm(covariance)
    directions: list[Floats] = []
    loadings: list[Floats] = []
    basis = np.zeros((x.shape[1], 0))
    while len(directions) < components and np.linalg.norm(covariance) > least:
        direction = np.linalg.svd(covariance, full_matrices=False)[0][:, 0]
        score = x @ direction
        size = np.linalg.norm(score)
        score, direction = score / size, direction / size
        load = x.T @ score
        for _ in range(2):  # once more, against rounding
            load = load - basis @ (basis.T @ load)
        load = load / np.linalg.norm(load)
        covariance = covariance - np.outer(load, load @ covariance)
        basis = np.column_stack([basis, load])
        directions.append(direction)
        loadings.append(y.T @ score)
    if not directions:
        return np.zeros((x.shape[1], y.shape[1]))
    slope: Floats = np.column_stack(directions) @ np.array(loadings)
    return slope


class TemplateCorrelation:
    """Pearson's correlation with each family's mean spectrum, the best over a few channels' shift.

    Linear correlation with library spectra is how LIBS first named materials: Gornushkin et al.,
    Appl. Spectrosc. 53 (1999).
    """

    def __init__(self, shift: int) -> None:
        self.shift = shift

    def fit(self, rows: Floats, labels: Ints) -> TemplateCorrelation:
        """Learn from (N, C) spectra of (N,) families."""
        self.classes_ = np.unique(labels)
        self._templates = _standard(np.stack([rows[labels == one].mean(axis=0) for one in self.classes_]))
        return self

    def decision_function(self, rows: Floats) -> Floats:
        """(N, classes) correlations."""
        spectra = _standard(rows)
        steps = range(-self.shift, self.shift + 1)
        found: Floats = np.max([spectra @ np.roll(self._templates, s, axis=1).T for s in steps], axis=0)
        return found


def _standard(rows: Floats) -> Floats:
    """Rows of mean 0 and length 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    standard: Floats = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return standard


class ConvNet:
    """The small 1-D network of the LIBS literature: convolutions with pooling, then dense layers; Adam.

    On one thread, so that a seed gives the same network again.
    """

    def __init__(self, epochs: int, seed: int) -> None:
        self.most, self.seed = epochs, seed

    def fit(self, rows: NDArray[np.float32], labels: Ints) -> ConvNet:
        """Learn from (N, C) spectra of (N,) families."""
        for _ in self.epochs(rows, labels):
            pass
        return self

    def epochs(self, rows: NDArray[np.float32], labels: Ints) -> Iterator[int]:
        """The same, pausing after every epoch."""
        self.classes_, place = np.unique(labels, return_inverse=True)
        self._mean, self._scale = rows.mean(axis=0), float(rows.std()) or 1.0
        inputs, targets = self._inputs(rows), torch.from_numpy(place)
        with _alone(self.seed):
            self._net = _small_net(len(self.classes_), inputs.shape[2])
        optimizer = torch.optim.Adam(self._net.parameters(), lr=RATE)
        for epoch in range(self.most):
            with _alone(self.seed * self.most + epoch):
                self._learn(inputs, targets, optimizer)
            yield epoch

    @torch.no_grad()
    def decision_function(self, rows: NDArray[np.float32]) -> Floats:
        """(N, classes) logits."""
        with _alone(self.seed):
            self._net.eval()
            told = [self._net(portion) for portion in torch.split(self._inputs(rows), _BATCH)]
        return np.asarray(torch.cat(told).numpy())

    def _inputs(self, rows: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy((rows - self._mean) / self._scale).float().unsqueeze(1)

    def _learn(self, inputs: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """One epoch."""
        self._net.train()
        for chosen in torch.split(torch.randperm(len(inputs)), _BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(self._net(inputs[chosen]), targets[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread and a random generator of one's own, both given back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _small_net(families: int, channels: int) -> nn.Sequential:
    convolutions = nn.Sequential(
        nn.Conv1d(1, 16, 15, stride=2, padding=7), nn.ReLU(), nn.MaxPool1d(4, ceil_mode=True),
        nn.Conv1d(16, 32, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4, ceil_mode=True),
        nn.Conv1d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2, ceil_mode=True), nn.Flatten(),
    )  # fmt: skip
    width = int(convolutions(torch.zeros(1, 1, channels)).shape[1])
    return nn.Sequential(
        convolutions, nn.Linear(width, 128), nn.ReLU(), nn.Dropout(DROPPED), nn.Linear(128, families)
    )


def _grid(**choices: Sequence[Any]) -> tuple[Params, ...]:
    """Every combination."""
    return tuple(dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


def _boosting(params: Params, seed: int) -> Any:
    return HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=params["trees"],
        max_leaf_nodes=params["leaves"],
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    )


def _lda(params: Params, _: int) -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=params["shrinkage"])


def _svm(params: Params, _: int) -> Any:
    return SVC(C=params["C"], gamma=params["gamma"])


def _forest(params: Params, seed: int) -> Any:
    return RandomForestClassifier(
        TREES, max_features=params["features"], min_samples_leaf=params["leaf"], random_state=seed, n_jobs=1
    )


def _neighbours(params: Params, _: int) -> Any:
    return KNeighborsClassifier(params["k"], metric=params["metric"], weights="distance", n_jobs=1)


METHODS: Final[Mapping[str, Method]] = {
    "PLS-DA": Method(
        "spectra", _grid(components=(20, 40, 80, 160)), lambda p, _: PartialLeastSquares(p["components"])
    ),
    "LDA": Method("components", _grid(components=(40, 80, 120, 240), shrinkage=(None, 0.1)), _lda),
    "SVM": Method(
        "components", _grid(components=(40, 120), C=(10.0, 100.0, 1000.0), gamma=(0.5, 2.0, 8.0)), _svm
    ),
    "random forest": Method("spectra", _grid(features=("sqrt", 0.1), leaf=(1, 3)), _forest),
    "kNN": Method(
        "components", _grid(components=(20, 60), k=(1, 5, 15), metric=("euclidean", "cosine")), _neighbours
    ),
    "boosting, line ratios": Method("ratios", _grid(trees=(60, 120), leaves=(8, 24)), _boosting),
    "boosting, PCA": Method(
        "components", _grid(components=(30, 80), trees=(60, 120), leaves=(8,)), _boosting
    ),
    "template correlation": Method(
        "spectra", _grid(shift=(0, 1, 2, 4)), lambda p, _: TemplateCorrelation(p["shift"])
    ),
    "1-D CNN": Method("spectra", _grid(epochs=(EPOCHS,)), lambda p, seed: ConvNet(p["epochs"], seed)),
}
