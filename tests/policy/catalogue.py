"""All cases of the policy on inputs."""

from __future__ import annotations

import cases_files
import cases_folders
import cases_geometry
import cases_identity
import cases_intensities
import cases_outputs
import cases_selection
import cases_tables

CASES = (
    *cases_identity.CASES,
    *cases_selection.CASES,
    *cases_folders.CASES,
    *cases_tables.CASES,
    *cases_geometry.CASES,
    *cases_intensities.CASES,
    *cases_files.CASES,
    *cases_outputs.CASES,
)
