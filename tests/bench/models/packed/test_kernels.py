"""The kernels in C give torch's results, on any number of threads; without a compiler torch does everything."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from bench.models.packed import kernels as module
from bench.models.packed.kernels import ALONE, ARGUMENTS, SUFFIX, Kernels, kernels

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="no gcc: torch computes everything"
)


@pytest.fixture
def fast() -> Kernels:
    library = kernels()
    if library is None and os.environ.get("LOSSBENCH_KERNELS"):
        pytest.skip("LOSSBENCH_KERNELS says that torch computes everything")
    assert library is not None
    return library


@pytest.fixture
def threads():
    """Sets the number of threads, and puts it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", SUFFIX)
def test_every_kernel_gives_what_torch_gives(fast, threads, monkeypatch, count, dtype):
    threads(count)
    monkeypatch.setattr(module, "ALONE", 0)  # so that samples are shared among threads as well
    samples = module._samples(fast, dtype, torch.Generator().manual_seed(1))
    assert {name for name, _, _ in samples} == set(ARGUMENTS)
    for name, ours, plain in samples:
        far = (ours.detach().float() - plain.detach().float()).abs().max() / plain.detach().abs().max()
        assert float(far) < (5e-7 if dtype is torch.float32 else 5e-3), name


def test_large_inputs_are_shared_among_threads_with_the_same_result(fast, threads):
    x, weight, grad = torch.randn(3 * ALONE // 64, 64), torch.randn(64), torch.randn(3 * ALONE // 64, 64)
    results = []
    for count in (1, 2):
        threads(count)
        out, inverse = fast.norm_forward(x, weight, 1e-6, torch.float32)
        results.append((out, *fast.norm_backward(x, weight, inverse, grad)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert torch.allclose(results[0][2], results[1][2], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("window", [None, 1, 3])
def test_a_query_sees_its_window_and_nothing_behind_itself(fast, window):
    scores, before = torch.randn(2, 2, 4, 7), torch.tensor([3, 0])
    place = before[:, None, None, None] + torch.arange(4)[:, None]
    seen = torch.arange(7) <= place
    if window is not None:
        seen &= place - torch.arange(7) < window
    expected = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    assert torch.allclose(fast.softmax_tile(scores.clone(), before, (2, 2, 4, 7), window), expected, atol=1e-7)


@pytest.mark.parametrize("far", [1e3, 3e4])
def test_logits_far_apart_keep_their_log_probs(fast, far):
    logits = torch.tensor([[0.0, far, -far], [far, far, 0.0]])
    labels = torch.tensor([0, 1])
    logps, kept = fast.head_scores(logits, labels)
    assert logps.tolist() == pytest.approx(logits.log_softmax(dim=-1)[[0, 1], labels].tolist(), rel=1e-6)
    slopes = fast.head_slopes(logits.clone(), labels, kept, torch.ones(2))
    assert torch.allclose(slopes, torch.eye(3)[labels] - logits.softmax(dim=-1), atol=1e-6)


def test_what_is_no_number_stays_so(fast):
    nan = torch.full((2, 40), torch.nan)
    assert fast.head_scores(nan, torch.tensor([0, 1]))[0].isnan().all()
    assert fast.norm_forward(nan, torch.ones(40), 1e-6, torch.bfloat16)[0].isnan().all()
    assert (
        fast.softmax_tile(nan.clone().view(1, 1, 2, 40), torch.tensor([0]), (1, 1, 2, 40), None)[..., 0].isnan().all()
    )
    assert fast.swiglu_forward(nan.bfloat16(), torch.ones(2, 40).bfloat16()).isnan().all()


def test_tensors_that_no_kernel_takes_are_recognised(fast):
    x = torch.randn(4, 6)
    assert fast.takes(x, x)
    assert not fast.takes(x.T)
    assert not fast.takes(x, x.bfloat16())
    assert not fast.takes(x.double())


def test_a_kernel_that_is_wrong_is_detected(fast, monkeypatch, caplog):
    monkeypatch.setattr(Kernels, "swiglu_forward", lambda self, gate, up: gate * up)
    kernels.cache_clear()
    try:
        assert kernels() is None
    finally:
        kernels.cache_clear()
    assert "swiglu_forward differ" in caplog.text


@pytest.mark.parametrize(
    "setting", [{"LOSSBENCH_KERNELS": "off"}, {"PATH": "/nowhere"}], ids=["switched off", "without a compiler"]
)
def test_without_kernels_a_model_is_packed_all_the_same(setting, tmp_path):
    code = (
        "from bench.models.packed.kernels import kernels; from bench.models.logprobs import CompletionLogProbs as C;"
        "from tests.bench.conftest import tiny_model; print(kernels(), C(tiny_model(), packed=True).packed)"
    )
    environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": ".", **setting}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment,
        cwd=module.Path(__file__).parents[4],
    )  # fmt: skip
    assert done.stdout.split() == ["None", "True"], done.stderr
    assert not list(tmp_path.glob("**/*.so"))


@pytest.mark.parametrize(
    ("build", "printed"),
    [
        ("kill -9 $$", "RunError"),  # as the system does where memory is short
        ("echo 'gcc: fatal error: Killed signal terminated program cc1' >&2; exit 1", "RunError"),
        ("echo 'error: unrecognized option' >&2; exit 1", "None"),
    ],
    ids=["ended", "a part of it was ended", "a compiler that cannot"],
)
def test_a_build_that_may_succeed_in_the_next_process_is_an_error_and_not_torch_in_this_one(build, printed, tmp_path):
    compiler = tmp_path / "gcc"
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo 1.0 && exit 0\n{build}\n')
    compiler.chmod(0o755)
    code = (
        "from bench.models.packed.kernels import kernels\n"
        "try: print(kernels())\n"
        "except Exception as error: print(type(error).__name__, error, error.fix)"
    )
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment,
        cwd=module.Path(__file__).parents[4],
    )  # fmt: skip
    assert done.stdout.split()[0] == printed, done.stdout + done.stderr
    assert ("LOSSBENCH_KERNELS=off" in done.stdout) == (printed == "RunError")
