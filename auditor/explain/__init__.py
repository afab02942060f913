"""Pictures of why: what a network looks at, and what it takes for the essence of a class.

`salient_pattern` accumulates perturbations into the features of a class (Jalwana et al., CVPR 2020); `feature_maps`
finds the network's convolutional base in any graph.
"""
