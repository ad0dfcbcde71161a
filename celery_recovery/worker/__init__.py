"""What runs inside workers beside the tasks."""
