"""`export.py --benchmark`: latency, throughput, memory and size of every file of an export, beside the plain ways.

`run.py` has the steps. Nothing is imported here: `worker.py` runs in processes whose memory is measured.
"""
