"""From live data to a submission or an upload of the model."""
