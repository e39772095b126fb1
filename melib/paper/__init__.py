"""What a manuscript shows: figures, tables and the report, from result tables alone."""
