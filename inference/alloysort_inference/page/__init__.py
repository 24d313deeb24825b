"""What an operator sees: figures of the run, forecasts, alarms, and the page that shows them."""
