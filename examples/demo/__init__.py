"""The main job on real input: emission factors in, calculation results and reports out."""
