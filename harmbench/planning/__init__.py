"""How large trainings are and how long a run takes, where the user does not say."""
