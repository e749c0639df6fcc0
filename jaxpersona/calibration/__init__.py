"""What is collected from calibration texts: moments, Hessians, Fisher factors."""
