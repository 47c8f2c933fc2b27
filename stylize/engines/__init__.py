"""What runs the networks: ONNX Runtime on processors, torch on everything else."""
