"""From frames to motion: faces found and aligned, flow, and the published recipe for long videos."""
