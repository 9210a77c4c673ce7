"""How much of the best score is luck: deflated Sharpe ratio, overfitting, superior ability, bootstrap."""
