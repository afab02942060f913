"""An ONNX file as a torch module, verified against a runtime. `network` tells the story."""
