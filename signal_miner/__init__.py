"""Signal Miner: mine models for the Numerai Classic tournament that are good and unique."""
