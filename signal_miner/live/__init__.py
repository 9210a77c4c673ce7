"""After the submission: live scores against what the backtest promised, slots, stakes and the weekly refresh."""
