"""From frames to motion: faces found and aligned (and whose may be shown), flow, the published recipe for long videos."""
