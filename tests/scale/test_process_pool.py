import os
import time

from light_job import LightJob

from sam2_hf.scale.process_pool import run_in_processes
from sam2_hf.scale.shard_store import divide


def test_a_process_that_dies_between_two_shards_is_replaced():
    outcomes = []
    for outcome in run_in_processes(LightJob(last=1), divide(4, 1), [None]):
        outcomes.append(outcome)
        time.sleep(0.5 if outcome.shard.number == 1 else 0)  # until it is dead
    processes = [outcome.manifest["process"] for outcome in outcomes]
    assert [outcome.shard.number for outcome in outcomes] == [0, 1, 2, 3] and os.getpid() not in processes
    assert processes[0] == processes[1] != processes[2] == processes[3]


def test_a_shard_of_which_processes_die_is_given_up_and_the_others_are_not():
    outcomes = list(run_in_processes(LightJob(fatal=0), divide(3, 1), [None], max_attempts=2))
    assert {outcome.shard.number: outcome.error for outcome in outcomes} == {0: "2 processes died of it", 1: "", 2: ""}


def test_no_shard_is_begun_after_an_interruption():
    outcomes = []
    wanted = run_in_processes(LightJob(), divide(5, 1), [None], is_interrupted=lambda: len(outcomes) > 1)
    for outcome in wanted:
        outcomes.append(outcome)
    assert [outcome.shard.number for outcome in outcomes] == [0, 1]
