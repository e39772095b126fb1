"""What a user calls: the command line, the notebooks' runner, predict, explore, doctor."""
