"""What a user calls: command line, the notebooks' runner, data check, pictures of data, predict, explore, doctor."""
