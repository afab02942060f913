.PHONY: check test lint demo clean

check:            ## everything a merge needs, in a fresh environment
	.ci/run

test:             ## the tests, in this environment
	pytest -n auto

lint:             ## style, types and import directions, in this environment
	ruff check .
	mypy
	lint-imports

demo:             ## train, scan and report, end to end
	audit demo

clean:            ## what the above leave behind
	rm -rf audit-demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
