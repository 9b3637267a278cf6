"""Where trainings run: a job goes to an executor, its scores come back epoch by epoch."""
