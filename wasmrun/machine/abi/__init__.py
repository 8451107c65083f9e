"""Guest ABIs: how an event gets into a module and an answer out of it. One file for each."""
