"""Proves that predicted processes take their turns as the real ones do, and what a profile of passes must have."""

import argparse
import json
import pathlib
import subprocess
import sys

import pytest

from examples.llm.costs import Costs, read_costs
from examples.llm.load import Request, arrivals, between, rates_of
from examples.llm.predict import fleet_of, main, measured, predict
from examples.llm.predicted import Fleet, simulate

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "src" / "python"


def document():
    """A prompt takes 10 ms for each 100 tokens, a step 5 ms or 8 ms, a piece 20 ms."""
    return {
        "machine": "a test",
        "options": {"kvBytes": 1000},
        "passes": {
            "prompt": [{"tokens": 100, "seconds": 0.01}, {"tokens": 200, "seconds": 0.02}],
            "step": [
                {"sequences": count, "reach": reach, "seconds": 0.005 if reach == 150 else 0.008}
                for count in (1, 4)
                for reach in (150, 300)
            ],
            "piece": [
                {"chunk": 50, "sequences": count, "start": start, "tokens": 50, "seconds": 0.02}
                for count in (0, 4)
                for start in (0, 50, 100, 150)
            ],
        },
    }


def answers(fleet, requests, patience=5.0, slots=4, places=2, rate=1e9):
    return simulate(fleet, Costs(document()), requests, patience, slots, places, rate)


def test_a_pass_takes_as_long_as_the_next_larger_one():
    costs = Costs(document())
    assert [costs.prompt(tokens) for tokens in (1, 100, 101)] == [0.01, 0.01, 0.02]
    assert [costs.step(*at) for at in ((1, 150), (2, 150), (4, 151))] == [0.005, 0.005, 0.008]
    assert costs.piece(50, 3, 100, 7) == 0.02
    assert (costs.longest, costs.chunks, costs.machine) == (300, [50], "a test")
    for call, words in [
        (lambda: costs.prompt(201), "201 tokens of a prompt; at most 200 were timed"),
        (lambda: costs.step(5, 1), "5 sequences; at most 4"),
        (lambda: costs.step(1, 301), "301 tokens of a sequence"),
        (lambda: costs.piece(60, 0, 0, 1), "pieces of 60 tokens were not timed; 50 were"),
        (lambda: costs.piece(50, 0, 200, 1), "a piece of 50 tokens at 200 was not timed"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("key", ["machine", "options", "passes"])
def test_a_profile_that_lacks_a_figure_is_refused(key, tmp_path):
    broken = document()
    del broken[key]
    with pytest.raises(ValueError, match=f"lacks '{key}'"):
        Costs(broken)
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(broken))
    with pytest.raises(ValueError, match=f"profile.json: the profile lacks '{key}'"):
        read_costs(str(file))
    for seconds in (0, "1", None, -1):
        wrong = document()
        wrong["passes"]["step"][0]["seconds"] = seconds
        with pytest.raises(ValueError, match="seconds above 0"):
            Costs(wrong)


def test_whole_prompts_go_before_steps():
    # The second prompt comes while the first sequence makes its first step, and holds up its second one.
    found = answers(Fleet(together=1), [(0.0, Request(0, 100, 3)), (0.012, Request(1, 200, 2))])
    assert found[0] == pytest.approx((0.010, 0.015 + 0.020 + 0.008))
    assert found[1] == pytest.approx((0.035, 0.043))


def test_a_piece_of_a_prompt_goes_beside_a_step():
    found = answers(Fleet(together=1, chunk=50), [(0.0, Request(0, 50, 4)), (0.0, Request(1, 100, 2))])
    assert found[0] == pytest.approx((0.020, 0.065))  # two tokens beside the pieces, one by a step
    assert found[1] == pytest.approx((0.060, 0.065))


def test_a_request_goes_to_the_device_that_has_the_fewest():
    found = answers(Fleet(together=2), [(0.0, Request(number, 100, 2)) for number in range(4)])
    assert sorted(first for first, _ in found.values()) == pytest.approx([0.01, 0.01, 0.02, 0.02])


def test_prefill_goes_on_while_decode_steps():
    requests = [(0.0, Request(0, 100, 5)), (0.0, Request(1, 100, 2))]
    found = answers(Fleet(prefill=1, decode=1), requests, rate=1e8)
    # A copy of 100 kB takes 1 ms; the second one ends within a step and joins at the next.
    assert found[0] == pytest.approx((0.010, 0.011 + 4 * 0.005))
    assert found[1] == pytest.approx((0.020, 0.031))


def test_prefill_waits_for_a_place_and_decode_for_a_slot():
    requests = [(0.0, Request(number, 100, 11)) for number in range(6)]
    slow = answers(Fleet(prefill=1, decode=1), requests, slots=1, places=1)
    first = [slow[number][0] for number in range(6)]
    # A place is free when decode has looked after its step; at first it sleeps, and looks at once.
    assert first[:3] == pytest.approx([0.01, 0.02, 0.035], abs=1e-3)
    # The first one leaves its slot; the third one is copied from the next look on, and its place free at the one after.
    assert first[3] == pytest.approx(slow[0][1] + 2 * 0.005 + 0.01, abs=1e-3)
    last = [slow[number][1] for number in range(6)]
    assert [b - a for a, b in zip(last, last[1:])] == pytest.approx([0.05] * 5, abs=1e-3)


def test_what_comes_too_late_is_missing():
    found = answers(Fleet(together=1), [(0.0, Request(0, 100, 2)), (0.0, Request(1, 100, 100))], patience=0.1)
    assert list(found) == [0]


def test_the_same_requests_are_counted_as_in_a_measurement():
    load = {"seconds": 20, "seed": 3, "prompt": [20, 90], "answer": [2, 9], "patience": 5, "slots": 4, "places": 2}
    row = predict(Fleet(together=1), Costs(document()), 10.0, load, 1e9)
    assert row["requests"] == len(arrivals(10.0, 20, 3, (20, 90), (2, 9))) == row["answered"]
    assert row["ttftMsP50"] >= 10 and 5 <= row["tpotMsP50"] < 20


def test_options_that_are_wrong_are_refused():
    assert between("5,9") == (5, 9) and rates_of("9,2.5") == [2.5, 9]
    for wrong in ("0,5", "9,5", "5", "a,b", "1,2,3"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"the smaller one first, not '{wrong}'"):
            between(wrong)
    for wrong in ("0", "-1,5", "x", "nan", "5,nan", "inf"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"above 0, not '{wrong}'"):
            rates_of(wrong)
    assert fleet_of("apart", 4, 512, 3) == Fleet(prefill=3, decode=1)
    assert fleet_of("chunked", 2, 512, 1) == Fleet(together=2, chunk=512)
    assert fleet_of("halves", 1, 512, 1) == Fleet(prefill=1, decode=1), "apart, though on one device"
    for wrong in (("apart", 1, 512, 1), ("apart", 2, 512, 2), ("plain", 0, 512, 1)):
        with pytest.raises(ValueError):
            fleet_of(*wrong)


@pytest.mark.parametrize(
    "words, error",
    [
        (["--profile", "/nowhere.json"], "No such file"),
        (["--beside", "/nowhere.jsonl"], "No such file"),
        (["--answer", "1,5"], "answers of at least 2"),
        (["--prompt", "9,5"], "argument --prompt: give two numbers of tokens"),
        (["--system", "apart", "--devices", "1"], "apart takes 2 devices"),
        (["--rates", "0"], "argument --rates: give requests a second, above 0, not '0'"),
        (["--prompt", "512,4096", "--rates", "1"], "tokens of a prompt; at most 2048 were timed"),
    ],
)
def test_the_command_says_what_is_wrong(words, error, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert error in said and "Traceback" not in said


def test_measured_rates_need_their_options(tmp_path):
    file = tmp_path / "measured.jsonl"
    file.write_text('noise\n{"row": "pd", "system": "plain", "rate": 4, "met": {}}\n')
    with pytest.raises(ValueError, match="no options before rate 4 of plain"):
        list(measured(str(file)))


def test_the_profile_beside_the_example_predicts_two_h200():
    """Figures of docs/python-examples.md: what two H200 did, within three points of the share that met the SLO."""
    costs = read_costs(str(FOLDER / "examples" / "llm" / "profile.json"))
    load = {"seconds": 15, "seed": 1, "prompt": [1024, 2048], "answer": [32, 96], "patience": 5, "slots": 64,
            "places": 16}  # fmt: skip
    for fleet, rate, share in [
        (Fleet(prefill=1, decode=1), 18.0, 0.986),
        (Fleet(together=2, chunk=512), 6.0, 1.0),
        (Fleet(together=2, chunk=512), 8.0, 0.803),
        (Fleet(together=2, chunk=256), 10.0, 0.873),
    ]:
        assert predict(fleet, costs, rate, load, 300e9)["met"]["500/10"] == pytest.approx(share, abs=0.03)


def test_a_profile_that_was_measured_is_predicted_from(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed (Debian: python3-torch)")
    profile = tmp_path / "profile.json"
    words = "--layers 1 --width 128 --vocabulary 300 --prompts 24 --answers 12 --slots 4 --chunks 8 --repeats 2"
    command = [sys.executable, "-B", "-m", "examples.llm.measure", "--device", "cpu", *words.split(),
               "--warm-seconds", "0.1", "--profile", str(profile)]  # fmt: skip
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    costs = read_costs(str(profile))
    assert json.loads(done.stdout)["passes"] == json.loads(profile.read_text())["passes"]
    assert costs.longest == 36 and costs.chunks == [8] and 0 < costs.prompt(24) < 5
    found = simulate(Fleet(together=1, chunk=8), costs, [(0.0, Request(0, 24, 12))], 60, 4, 2, 1e9)
    assert 0 < found[0][0] < found[0][1]
