Write-Host no
