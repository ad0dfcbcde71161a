"""The application with the tasks."""
