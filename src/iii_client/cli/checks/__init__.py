"""What the doctor looks at, a module a subject. Each function gives a `Check`, or raises an error of ours."""
