"""Other people's detectors, re-implemented from their published settings, to be run on the same models."""

from benchmarks.peers.mm_bd import mm_bd
from benchmarks.peers.neural_cleanse import neural_cleanse
from benchmarks.peers.result import PeerResult

__all__ = ["PeerResult", "mm_bd", "neural_cleanse"]
