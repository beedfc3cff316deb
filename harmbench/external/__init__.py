"""Software of other projects: FSL, ANTs, and any program that is run beside harmbench."""
