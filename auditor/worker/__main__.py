"""``python -m auditor.worker``: started by `auditor.worker.process`, never by hand."""

from auditor.worker.child import main

main()
