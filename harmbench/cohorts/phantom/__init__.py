"""The simulated cohort: 40 people who do not exist, each scanned at 1.5 T and at 3 T.

The scans behind Durrer et al. 2023 are private. This deterministic generator takes their place: 22
healthy controls and 18 patients with multiple sclerosis, with the paper's protocols (Table 4) and
demographics (Table 5), and with the truth kept beside each scan.

Modelled: brains warped without folds from the ICBM152 2009a maps, with sulci, folia and tissue
boundaries of their own; size by sex, atrophy by age and disease; periventricular and juxtacortical
lesions; arteries; partial volume; T1 and proton density that differ between subjects, regions and
cortical depths; the MPRAGE signal by recursion; point spread, receive field, Rician noise with a
signal-to-noise ratio that goes with the field, repositioning, and gradient nonlinearity at 1.5 T
only. `prepared` scans hold what preparation leaves of these; `raw` scans hold them in full, with a
shell of fluid, skull and scalp around the brain.

Beside the first visits there can be a second one on each scanner (`rescans`), and follow-up visits with
a true loss of tissue of 0, 0.5, 1 and 2 % (`make_follow_ups`), in the same anatomy but for that loss.
Later visits are registered rigidly: no registration takes a change of volume back.

Not modelled: inhomogeneous excitation (B1+), T1 recovery along the readout train, susceptibility,
motion, Gibbs ringing, multi-channel reconstruction, veins and meninges, iron and calcification,
lesions of the cortex, disease progress between the sessions, and a face or neck. T2* of deep grey
matter and fluid, all lesion values at 3 T, the brightness of arterial blood, echo spacing, and
everything in `scanner.SCANNERS` are assumptions: constants of the whole cohort, chosen so that
untreated pairs differ about as much as the paper's *Original*. So results on this cohort test
methods and the benchmark; they say nothing about patients.

Measured at 1 mm with seed 0, untreated 1.5 T against 3 T, mean over subjects; in brackets the paper.
MSE and histogram difference are of all 40; the rest is of fourteen (1-10, 12, 16, 20, 30), segmented
with the published algorithm of FAST:

| measure | CSF | GM | WM | whole volume |
|---|---|---|---|---|
| MSE | | | | 2.4e-3 (1.85e-3) |
| AHD, 255 bins | | | | 8.1e5 (6.15e5) |
| volume difference, 1e4 mm3 | 4.8 (3.7) | 6.5 (9.3) | 4.8 (8.9) | |
| Dice | .80 (.82) | .84 (.82) | .91 (.87) | |
"""

from harmbench.cohorts.phantom.cohort import cache_folder, make_phantom
from harmbench.cohorts.phantom.follow_ups import FollowUps, make_follow_ups
from harmbench.cohorts.phantom.subjects import PhantomSettings

__all__ = ["FollowUps", "PhantomSettings", "cache_folder", "make_follow_ups", "make_phantom"]
