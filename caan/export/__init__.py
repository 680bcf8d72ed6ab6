"""Trained models as graphs in files, ONNX, int8 ONNX or torch.export: `command` writes them, `runtime` runs them."""

OPSET = 18  # of ONNX; read by ONNX Runtime 1.14 and later
