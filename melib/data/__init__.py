"""From a folder to frames: manifests, layouts, video files, tables; the cache and the workers that all rooms use."""
