# cmake -DSOURCE=<folder> -DDESTINATION=<folder> -P CopyTree.cmake: copies what is in SOURCE, without Python's caches.
file(COPY "${SOURCE}/" DESTINATION "${DESTINATION}"
  PATTERN "__pycache__" EXCLUDE
  PATTERN "*.pyc" EXCLUDE
  )
