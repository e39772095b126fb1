"""From a folder to frames: manifests, layouts of folders, video files, tables, and the cache that everything is kept in."""
