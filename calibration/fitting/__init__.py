"""Fitting: from outcomes to a calibrator, and the one-signal baselines that it is compared with."""
