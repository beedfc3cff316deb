"""Ready-made experiments, installed as harmbench.configs: `harmbench run --config NAME`."""
