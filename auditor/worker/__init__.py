"""A process of its own for everything that touches a model file.

The command line imports no torch and never opens the model. It starts a worker (`process`), which is confined
(`confinement`: memory, CPU time, files, environment; no network, no new process while a file is being opened), runs
the scan (`child`) and sends back one JSON message a line (`protocol`). What comes back is validated like any
foreign input. A worker that dies leaves an `inconclusive` audit with the reason and whatever was finished
(`supervise`).
"""

from auditor.worker.supervise import Inspected, as_json, explain, inspect_file, scan

__all__ = ["Inspected", "as_json", "explain", "inspect_file", "scan"]
