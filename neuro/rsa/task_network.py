"""A network with one hidden layer that learns a binary task on a few conditions: does its nonlinearity shape geometry?

Conditions are all combinations of binary variables, and labels parities of them. Inputs are either in general position
("random": one random pattern per condition) or a linear embedding of the variables ("cube"). For inputs in general
position and small initial weights, hidden layers of saturating units (tanh) come to reflect the labels, while those of
rectified units (ReLU) retain more of the inputs. Where the labels are not linearly separable from the inputs, as XOR
from a cube, this need not hold: there ReLU layers may reflect the labels more.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, require


@dataclass(frozen=True, eq=False)
class TaskNetwork:
    """A trained network and the stimuli to look at it with.

    Parameters
    ----------
    X : array (n, n_inputs)
        Noisy inputs, ``n_trials`` per condition.
    hidden, initial : array (n, n_hidden)
        Hidden layer after and before training.
    conditions : array (n,)
        Condition of every stimulus, 0 .. 2**n_variables - 1.
    variables : array (2**n_variables, n_variables) of -1 and 1
        What the conditions are.
    labels : array (2**n_variables, n_outputs) of 0 and 1
        What the network was to say.
    accuracy : float
    losses : array (steps,)
    """

    X: np.ndarray
    hidden: np.ndarray
    initial: np.ndarray
    conditions: np.ndarray
    variables: np.ndarray
    labels: np.ndarray
    accuracy: float
    losses: np.ndarray


def train_task_network(
    labels: Sequence[Sequence[int]] = ((0,), (1,)),
    *,
    n_variables: int = 3,
    activation: str = "tanh",
    inputs: str = "random",
    n_inputs: int = 30,
    n_hidden: int = 100,
    noise: float = 0.1,
    n_trials: int = 20,
    steps: int = 1500,
    learning_rate: float = 3e-3,
    scale: float = 0.1,
    rng: int | np.random.Generator | None = None,
) -> TaskNetwork:
    """Train a network with one hidden layer on parities of binary variables.

    Parameters
    ----------
    labels : sequence of tuples of variables
        Each output is the parity of these: ((0,), (1, 2)) asks for the first variable and for the XOR of the others.
    n_variables : int
    activation : "tanh" or "relu"
    inputs : "random" or "cube"
        A random pattern for each condition, or orthogonal directions for the variables; of like norm.
    n_inputs, n_hidden : int
    noise : float
        S.d. of the inputs around their condition, whose pattern has norm sqrt(n_variables).
    n_trials : int
        Stimuli per condition, for training and to look at.
    steps, learning_rate
        Of Adam on all stimuli at once.
    scale : float
        Of the initial weights: 1 gives hidden units and outputs a variance of about 1; small ones let the task shape
        the hidden layer.
    rng : int or Generator, optional

    Returns
    -------
    TaskNetwork

    References
    ----------
    Alleman, Lindsey & Fusi (2024), Task structure and nonlinearity jointly determine learned representational geometry,
    ICLR.
    """
    torch = require("torch", "train_task_network")
    check_option("activation", activation, ["tanh", "relu"])
    check_option("inputs", inputs, ["random", "cube"])
    for name, value in (("n_variables", n_variables), ("n_hidden", n_hidden), ("steps", steps), ("n_trials", n_trials)):
        check_positive_int(name, value)
    check_positive_int("n_inputs", n_inputs, n_variables)
    tuples = [tuple(t) for t in labels]
    if not tuples or any(not t or min(t) < 0 or max(t) >= n_variables for t in tuples):
        raise ValueError(f"labels are tuples of variables 0..{n_variables - 1}, got {tuples}.")
    rng = as_rng(rng)
    variables = np.array(list(itertools.product([-1.0, 1.0], repeat=n_variables)))
    target = np.stack([variables[:, list(t)].prod(1) > 0 for t in tuples], 1).astype(float)
    if inputs == "cube":
        patterns = variables @ np.linalg.qr(rng.normal(size=(n_inputs, n_variables)))[0].T
    else:
        patterns = rng.normal(size=(len(variables), n_inputs)) * np.sqrt(n_variables / n_inputs)
    conditions = np.repeat(np.arange(len(variables)), n_trials)
    X = patterns[conditions] + noise * rng.normal(size=(len(conditions), n_inputs))
    Y = target[conditions]
    # bias drawn, too: ReLU units that all pass through the origin cannot tell a cube's corners from their opposites
    draws = [
        scale * rng.normal(size=(n_inputs, n_hidden)) / np.sqrt(n_variables),
        0.1 * scale * rng.normal(size=n_hidden),
        scale * rng.normal(size=(n_hidden, len(tuples))) / np.sqrt(n_hidden),
        np.zeros(len(tuples)),
    ]
    parameters = [torch.tensor(v, requires_grad=True) for v in draws]
    x, y = torch.tensor(X), torch.tensor(Y)

    def hidden() -> Any:
        z = x @ parameters[0] + parameters[1]
        return z.tanh() if activation == "tanh" else z.relu()

    initial = hidden().detach().numpy().copy()
    optimiser, losses = torch.optim.Adam(parameters, lr=learning_rate), []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(hidden() @ parameters[2] + parameters[3], y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        z = hidden()
        right = ((z @ parameters[2] + parameters[3]) > 0) == (y > 0.5)
    return TaskNetwork(
        X, z.numpy(), initial, conditions, variables, target.astype(int), float(right.double().mean()), np.array(losses)
    )
