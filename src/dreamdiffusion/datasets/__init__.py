"""Where recordings come from: public data sets, and SIMULATED people."""
