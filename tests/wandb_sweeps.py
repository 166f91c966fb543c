"""The sweeps of the W&B server on loopback: what `wandb sweep` and `wandb agent` ask, answered with a grid."""

import itertools
import json

import yaml


class Sweeps:
    """Part of `WandbServer`; `sweeps` by id: the config as YAML, the points still to be run, the runs begun."""

    def __init__(self):
        self.sweeps: dict[str, dict] = {}

    def UpsertSweep(self, v):
        config = yaml.safe_load(v["config"])
        choices = [parameter["values"] for parameter in config["parameters"].values()]
        points = [
            dict(zip(config["parameters"], point, strict=True))
            for point in itertools.product(*choices)
        ]
        name = f"sweep{len(self.sweeps)}"
        self.sweeps[name] = {"config": v["config"], "points": points, "runs": []}
        sweep = {"name": name, "project": self.project()}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def SweepWithRuns(self, v):
        found = self.sweeps.get(v["sweep"])
        if found is None:
            return {"project": {"sweep": None}}
        about = {"id": v["sweep"], "name": v["sweep"], "method": "grid", "state": "RUNNING"}
        return {"project": {"sweep": {**about, "config": found["config"], "runs": {"edges": []}}}}

    def CreateAgent(self, v):
        # An agent works for one sweep: its name is enough to find it again.
        return {"createAgent": {"agent": {"id": v["sweep"]}}}

    def Heartbeat(self, v):
        """The next point for an agent without a run; the end when there is none."""
        sweep = self.sweeps[v["id"]]
        commands = []
        if not json.loads(v["runState"]):
            commands = [next_command(v["id"], sweep)]
        agent = {"id": v["id"]}
        return {"agentHeartbeat": {"agent": agent, "commands": json.dumps(commands)}}


def next_command(name: str, sweep: dict) -> dict:
    """What the agent is to do next."""
    if not sweep["points"]:
        return {"type": "exit"}
    point = sweep["points"].pop(0)
    run_id = f"{name}run{len(sweep['runs'])}"
    sweep["runs"].append(run_id)
    arguments = {flag: {"value": value} for flag, value in point.items()}
    return {"type": "run", "run_id": run_id, "program": "train.py", "args": arguments}
